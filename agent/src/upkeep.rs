// SPDX-License-Identifier: Apache-2.0
//! What keeps an identity in order over the years, without anybody: the daemon does it between runs.
//!
//! | what | when |
//! |---|---|
//! | a change of keys that was begun | goes on until the policy server knows the new key |
//! | an enrolment that waits | is asked about again |
//! | the certificate of the root's authority | after half of its life, or when the key has changed |
//! | exports and their hooks | after each renewal, until they succeed |
//! | a new key that was refused | is taken into use if the policy server knows it and the one in use no more |
//! | the key before the last change, refused ones | are removed when servers have long forgotten them |
//!
//! Each is also done by a command; this only does what is due.

use std::{fs, io, time::Duration, time::SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use protocol::{enrolment::State as Standing, private_key::KeyKind};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    enrol::{self, Ended, Enrolment},
    identity::{Identity, next, refused},
    issued::{self, Issued, export},
    roll::{self, RollError},
    settings::Settings,
    state::State,
    upload::backoff,
};

/// After a failure: doubled from the first to the second.
const AGAIN: (TimeDelta, TimeDelta) = (TimeDelta::minutes(1), TimeDelta::hours(1));

/// When nothing is due: the clock may be wrong, and files may be lost.
const LOOK: TimeDelta = TimeDelta::hours(6);

/// How long the key before the last change is kept, and one that was refused.
const KEEP_OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Warnings before a certificate ends.
const WARN: [TimeDelta; 2] = [TimeDelta::days(7), TimeDelta::days(30)];

/// What is remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Upkeep {
    /// When to look again.
    pub next: Option<DateTime<Utc>>,
    /// Failures in a row.
    pub failures: u32,
    /// What failed last.
    pub problem: Option<String>,
    /// When it was last said that a certificate ends soon.
    pub warned: Option<DateTime<Utc>>,
}

impl Upkeep {
    /// What is remembered.
    pub fn load(state: &State) -> Self {
        state.read("upkeep.json")
    }
}

/// When the daemon is to look again; `None` when there is nothing to keep in order.
pub fn due(settings: &Settings, state: &State) -> Option<SystemTime> {
    let enrolment = Enrolment::load(state);
    let anything = matches!(enrolment.state, Some(Standing::Pending | Standing::Accepted))
        || settings.paths.issued_certificate.exists()
        || roll::is_under_way(settings)
        || refused::is_any(&settings.paths)
        || next::old_of(&settings.paths.key).exists();
    anything.then(|| next_look(Upkeep::load(state).next, Utc::now()).into())
}

/// When to look again. What is further ahead than a look ever is was noted while the clock was wrong.
fn next_look(noted: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    noted.filter(|at| *at <= now + LOOK).unwrap_or(now)
}

/// Has the daemon look again at once: something has changed.
pub fn wake(state: &State) -> io::Result<()> {
    state.write("upkeep.json", &Upkeep { next: None, ..Upkeep::load(state) })
}

/// Does what is due. Gives what went wrong, which is tried again later.
pub async fn upkeep(settings: &Settings, stop: &CancellationToken) -> io::Result<Vec<String>> {
    let state = State::open(&settings.paths.state)?;
    let mut problems = vec![];
    if let Err(problem) = end_change_of_keys(settings, stop).await {
        problems.push(problem);
    }
    if let Err(problem) = look_after_refused(settings, stop).await {
        problems.push(problem);
    }
    match Identity::load(&settings.paths) {
        Ok(identity) => {
            if let Err(problem) = ask_again(settings, &state, &identity, stop).await {
                problems.push(problem);
            }
            problems.extend(certificates(settings, &state, &identity, false).await?);
        }
        Err(e) => problems.push(e.to_string()),
    }
    forget_old(settings);
    remember(settings, &state, &problems)?;
    Ok(problems)
}

async fn end_change_of_keys(settings: &Settings, stop: &CancellationToken) -> Result<(), String> {
    if !roll::is_under_way(settings) {
        return Ok(());
    }
    let options = roll::Options { kind: KeyKind::default(), wait: Duration::from_secs(30) };
    let say = |text: &str| info!("{text}");
    let identity = match roll::roll(settings, options, say, stop).await {
        Ok(identity) => identity,
        // Somebody is at it.
        Err(RollError::InProgress(_)) => return Ok(()),
        Err(e) => return Err(e.to_string()),
    };
    new_key(&identity);
    Ok(())
}

async fn look_after_refused(settings: &Settings, stop: &CancellationToken) -> Result<(), String> {
    let then = SystemTime::now().checked_sub(KEEP_OLD).unwrap_or(SystemTime::UNIX_EPOCH);
    let looked = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        looked = roll::look_after_refused(settings, then) => looked,
    };
    match looked {
        Ok(identity) => identity.iter().for_each(new_key),
        // Somebody is at it.
        Err(RollError::InProgress(_)) => {}
        Err(e) => return Err(e.to_string()),
    }
    Ok(())
}

fn new_key(identity: &Identity) {
    info!("this node has a new key: {}", identity.certificate.key_hash());
}

async fn ask_again(
    settings: &Settings,
    state: &State,
    identity: &Identity,
    stop: &CancellationToken,
) -> Result<(), String> {
    let Enrolment { state: standing, next_attempt, hostname, as_relay, .. } = Enrolment::load(state);
    let waits = |at: DateTime<Utc>| at > Utc::now() && at < Utc::now() + LOOK;
    if standing != Some(Standing::Pending) || next_attempt.is_some_and(waits) {
        return Ok(());
    }
    // Somebody is asking already.
    let Ok(_lock) = state.lock_enrolment() else { return Ok(()) };
    let options = enrol::Options { hostname, as_relay, token: None, wait: Some(Duration::ZERO) };
    let ended = enrol::enrol(settings, identity, &options, |_| {}, stop).await;
    if let Ended::Decided(answer) = ended.map_err(|e| e.to_string())? {
        info!("enrolment: {}", enrol::words::decided(&answer));
    }
    Ok(())
}

/// Gets the certificate of the root's authority where it is due, or `now`, and makes open exports.
///
/// Gives what went wrong.
pub async fn certificates(
    settings: &Settings,
    state: &State,
    identity: &Identity,
    now: bool,
) -> io::Result<Vec<String>> {
    let Ok(_lock) = state.lock_identity() else {
        // Whoever changes them does what is due; only who asked for more has to hear of it.
        let busy = "keys or certificates are already being changed".to_owned();
        return Ok(if now { vec![busy] } else { vec![] });
    };
    let mut problems = vec![];
    let enrolment = Enrolment::load(state);
    let issued = issued::of_key(settings, identity);
    let wanted = match &issued {
        Some(issued) => issued.renewal(&identity.node_id) <= Utc::now(),
        // An authority may have been made since.
        None => Issued::load(settings).is_some() || enrolment.state == Some(Standing::Accepted),
    };
    let may = !matches!(enrolment.state, Some(state) if state != Standing::Accepted);
    let mut current = issued;
    if now || (wanted && may) {
        match issued::fetch(settings, identity).await {
            Ok(Some(same)) if current.as_ref().is_some_and(|current| current.chain() == same.chain()) => {
                info!("the root's authority has no newer certificate for this node yet");
            }
            Ok(Some(new)) => {
                let until = new.certificate.not_after().format("%F %T UTC");
                info!("a new certificate of the root's authority, valid until {until}");
                current = Some(new);
            }
            Ok(None) if now || current.is_some() => {
                problems.push("the root has no authority (404): `relayd ca init` there makes one".to_owned());
            }
            Ok(None) => {}
            Err(e) => problems.push(e.to_string()),
        }
    }
    if let Some(issued) = &current {
        problems.extend(export::make_open(state, issued, identity).await?);
    }
    Ok(problems)
}

fn forget_old(settings: &Settings) {
    let since = fs::metadata(next::old_of(&settings.paths.key)).and_then(|old| old.modified());
    let age = since.ok().and_then(|since| since.elapsed().ok());
    if age.is_some_and(|age| age > KEEP_OLD)
        && let Err(e) = next::forget_old(&settings.paths)
    {
        warn!("{e}");
    }
}

/// Decides when to look again, and warns of an end that comes near.
fn remember(settings: &Settings, state: &State, problems: &[String]) -> io::Result<()> {
    let now = Utc::now();
    let before = Upkeep::load(state);
    let failures = if problems.is_empty() { 0 } else { before.failures.saturating_add(1) };
    let jitter = |time: TimeDelta| time * (750 + (backoff::random() * 250.0) as i32) / 1000;
    let mut next = now + jitter(LOOK);
    if failures > 0 {
        next = now + jitter((AGAIN.0 * 2_i32.pow(failures.min(10) - 1)).min(AGAIN.1));
    }
    let enrolment = Enrolment::load(state);
    if let (Some(Standing::Pending), Some(at)) = (enrolment.state, enrolment.next_attempt) {
        next = next.min(at.max(now));
    }
    let identity = Identity::load(&settings.paths).ok();
    let issued = identity.and_then(|identity| {
        issued::of_key(settings, &identity).map(|issued| (issued.renewal(&identity.node_id), issued))
    });
    let mut warned = before.warned;
    if let Some((renewal, issued)) = issued {
        if renewal > now {
            next = next.min(renewal);
        }
        let left = issued.certificate.not_after() - now;
        if renewal <= now && is_to_be_said(left, warned, now) {
            let days = left.num_days();
            warn!("the certificate of the root's authority ends in {days} days and could not be renewed yet");
            warned = Some(now);
        }
    }
    state.write(
        "upkeep.json",
        &Upkeep { next: Some(next), failures, problem: problems.first().cloned(), warned },
    )
}

/// Once in each of the last 30 and 7 days, then daily in those 7.
fn is_to_be_said(left: TimeDelta, warned: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let since = warned.map_or(TimeDelta::MAX, |warned| now - warned);
    let [soon, later] = WARN;
    (left <= later && since > later) || (left <= soon && since >= TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_put_off_by_a_wrong_clock_is_due() {
        let now = Utc::now();
        let later = now + TimeDelta::hours(1);
        assert_eq!(next_look(Some(later), now), later);
        assert_eq!(next_look(Some(now + TimeDelta::days(3000)), now), now);
        assert_eq!(next_look(None, now), now);
    }

    #[test]
    fn an_end_is_announced_a_month_and_a_week_before_and_then_daily() {
        let start = Utc::now();
        let mut warned = None;
        let mut said = vec![];
        for hours in 0..40 * 24 {
            let now = start + TimeDelta::hours(hours);
            let left = TimeDelta::days(40) - TimeDelta::hours(hours);
            if is_to_be_said(left, warned, now) {
                warned = Some(now);
                said.push(left.num_days());
            }
        }
        assert_eq!(said, [30, 7, 6, 5, 4, 3, 2, 1]);
    }
}
