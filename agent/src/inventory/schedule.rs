// SPDX-License-Identifier: Apache-2.0
//! When an inventory is due (protocol 6.2), and what is remembered for that: `inventory.json`.
//!
//! | asks for one | when |
//! |---|---|
//! | the file `force_inventory` | at once |
//! | no inventory yet | at once |
//! | one that waits | after a back-off, or when the server says |
//! | the night | between 00:00 and 06:00, each node at its own moment |
//! | none for 72 hours | at once: the machine was off at night |
//! | a change | after the least time between two |

use std::{io, time::Duration};

use chrono::{DateTime, Days, Local, NaiveTime, TimeDelta, TimeZone, Utc};
use protocol::node_id::NodeId;
use serde::{Deserialize, Serialize};

use super::{document::DocumentError, send::SendInventoryError};
use crate::{
    schedule::splay,
    settings::Settings,
    state::State,
    upload::{answer::is_wait, backoff},
};

/// The night, from 00:00.
const NIGHT: Duration = Duration::from_secs(6 * 3600);

/// One is sent when the last is older, whatever the time of day.
const CATCH_UP: TimeDelta = TimeDelta::hours(72);

/// Least time between two because of the night or a change, with initial policies and with others.
const BETWEEN: (TimeDelta, TimeDelta) = (TimeDelta::minutes(15), TimeDelta::minutes(480));

/// After a refusal, or when a server takes none at all, it takes an operator: there is no hurry.
const AFTER_REFUSAL: TimeDelta = TimeDelta::hours(6);

/// After the settings named no server that can be called: a machine may be set up just now.
const AFTER_SETTINGS: TimeDelta = TimeDelta::minutes(5);

/// After a machine has told too little of itself: what it lacks somebody may have seen to meanwhile.
const AFTER_MAKING: TimeDelta = TimeDelta::hours(1);

/// Why one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody asks for it.
    Asked,
    /// None was sent yet.
    First,
    /// The last one is not taken yet.
    Again,
    /// It is the time.
    Regular,
    /// Something has changed.
    Changed,
}

impl Why {
    /// Its word, for the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::First => "first",
            Self::Again => "again",
            Self::Regular => "regular",
            Self::Changed => "changed",
        }
    }
}

/// What is remembered; whoever has the inventory lock writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// When one was taken last.
    pub sent: Option<DateTime<Utc>>,
    /// Digest of what that one said, without what is different each time.
    pub digest: Option<String>,
    /// Digest of the one that waits.
    pub pending: Option<String>,
    /// What was seen of the machine when it was last collected.
    pub signs: Option<String>,
    /// Why the last attempt failed.
    pub problem: Option<String>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When to try again.
    pub next_attempt: Option<DateTime<Utc>>,
}

const FILE: &str = "inventory.json";

impl Memory {
    /// What is remembered.
    pub fn load(state: &State) -> Self {
        state.read(FILE)
    }

    /// Remembers it; needs the inventory lock.
    pub fn save(&self, state: &State) -> io::Result<()> {
        state.write(FILE, self)
    }

    /// After something went well.
    pub fn without_problem(self) -> Self {
        Self { problem: None, failures: 0, next_attempt: None, ..self }
    }

    /// After an attempt to send failed.
    pub fn after_sending(self, e: &SendInventoryError, now: DateTime<Utc>) -> Self {
        let failures = self.failures.saturating_add(1);
        let next = match e.takes_an_operator() {
            true => now + AFTER_REFUSAL,
            false if e.is_configuration() => now + AFTER_SETTINGS,
            false => backoff::next_attempt(failures, e.retry_after(), now, backoff::random()),
        };
        Self { problem: Some(e.to_string()), failures, next_attempt: Some(next), ..self }
    }

    /// After none could be made that a server would take.
    pub fn after_making(self, e: &DocumentError, now: DateTime<Utc>) -> Self {
        let failures = self.failures.saturating_add(1);
        Self { problem: Some(e.to_string()), failures, next_attempt: Some(now + AFTER_MAKING), ..self }
    }
}

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is remembered.
    pub memory: &'a Memory,
    /// Whether somebody asks for one.
    pub is_asked: bool,
    /// What is seen of the machine now.
    pub signs: &'a str,
    /// Whether the policies are the initial ones.
    pub initial: bool,
    /// This node.
    pub node_id: &'a NodeId,
}

/// When the next one is due, and why: the earliest reason counts.
pub fn due(facts: Facts<'_>, now: DateTime<Local>) -> (DateTime<Utc>, Why) {
    let Facts { memory, is_asked, signs, initial, node_id } = facts;
    let utc = now.to_utc();
    // A server that asked to wait is left alone, whoever asks.
    let next = memory.next_attempt.filter(|at| is_wait(*at, utc)).unwrap_or(utc);
    if is_asked {
        return (next, Why::Asked);
    }
    if memory.pending.is_some() {
        return (next, Why::Again);
    }
    // What was noted while the clock was wrong counts for nothing.
    let Some(sent) = memory.sent.filter(|sent| *sent <= utc + TimeDelta::hours(1)) else {
        return (next, Why::First);
    };
    let earliest = (sent + if initial { BETWEEN.0 } else { BETWEEN.1 }).max(next);
    let catch_up = (sent + CATCH_UP).max(next);
    let night = at_night(node_id, earliest.with_timezone(&Local), sent);
    let regular = (night.min(catch_up), Why::Regular);
    match memory.signs.as_deref() == Some(signs) {
        true => regular,
        false if earliest <= regular.0 => (earliest, Why::Changed),
        false => regular,
    }
}

/// The moment of this node in the first night from `earliest` on for which none was sent yet.
fn at_night(node_id: &NodeId, earliest: DateTime<Local>, sent: DateTime<Utc>) -> DateTime<Utc> {
    let delay = splay(node_id, NIGHT);
    let moment = |days: u64| {
        let day = earliest.date_naive().checked_add_days(Days::new(days))?;
        let midnight = day.and_time(NaiveTime::MIN);
        // There are days without a midnight.
        let midnight = Local.from_local_datetime(&midnight).earliest()?;
        Some(midnight.to_utc() + TimeDelta::from_std(delay).ok()?)
    };
    let earliest = earliest.to_utc();
    let end = |at: DateTime<Utc>| at + TimeDelta::seconds(NIGHT.as_secs() as i64 - delay.as_secs() as i64);
    // A moment that has passed is made up for while the night lasts.
    let is_open = |at: &DateTime<Utc>| (*at >= earliest || end(*at) > earliest) && *at > sent;
    let next = (0..3).filter_map(moment).find(is_open);
    next.map_or(earliest + TimeDelta::days(1), |at| at.max(earliest))
}

/// Whether the daemon is to make inventories now.
pub fn is_enabled(settings: &Settings) -> bool {
    settings.makes_inventories() && !settings.paths.disable_inventory.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        "e745a140-40bc-4b86-b6dc-084488fc906b".parse().unwrap()
    }

    fn at(day: u32, hour: u32, minute: u32) -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 1, day, hour, minute, 0).unwrap()
    }

    /// The moment of this node in a night.
    fn moment(day: u32) -> DateTime<Utc> {
        at(day, 0, 0).to_utc() + TimeDelta::from_std(splay(&node(), NIGHT)).unwrap()
    }

    fn of(memory: &Memory, signs: &str, initial: bool, now: DateTime<Local>) -> (DateTime<Utc>, Why) {
        due(Facts { memory, is_asked: false, signs, initial, node_id: &node() }, now)
    }

    fn sent(at: DateTime<Local>) -> Memory {
        Memory { sent: Some(at.to_utc()), signs: Some("same".into()), ..Memory::default() }
    }

    #[test]
    fn the_first_is_due_at_once_and_then_one_each_night() {
        assert_eq!(of(&Memory::default(), "x", false, at(5, 14, 0)), (at(5, 14, 0).to_utc(), Why::First));
        let mut memory = sent(at(5, 14, 0));
        for day in 6..20 {
            let (next, why) = of(&memory, "same", false, at(day - 1, 15, 0));
            assert_eq!((next, why), (moment(day), Why::Regular));
            memory.sent = Some(next + TimeDelta::seconds(20));
        }
    }

    #[test]
    fn a_node_that_was_off_at_night_is_made_up_for_after_three_days() {
        let memory = sent(at(5, 3, 0));
        // It runs by day only: what was due at night lies in the past, and is not made up for by day.
        let (next, why) = of(&memory, "same", false, at(8, 9, 0));
        assert!(next <= at(8, 9, 0).to_utc() && why == Why::Regular, "{next}");
        let last_hour = sent(at(5, 22, 0));
        assert_eq!(
            of(&last_hour, "same", false, at(5, 23, 0)).0.max(moment(6)),
            of(&last_hour, "same", false, at(5, 23, 0)).0
        );
    }

    #[test]
    fn a_change_is_told_after_the_least_time() {
        let memory = sent(at(5, 7, 0));
        assert_eq!(of(&memory, "other", false, at(5, 7, 10)), (at(5, 15, 0).to_utc(), Why::Changed));
        assert_eq!(of(&memory, "other", true, at(5, 7, 10)), (at(5, 7, 15).to_utc(), Why::Changed));
        assert_eq!(of(&memory, "same", true, at(5, 7, 10)), (moment(6), Why::Regular));
    }

    #[test]
    fn who_asks_gets_one_at_once_unless_the_server_is_to_be_left_alone() {
        let now = at(5, 7, 0);
        let asked = |memory: &Memory| {
            due(Facts { memory, is_asked: true, signs: "same", initial: false, node_id: &node() }, now)
        };
        assert_eq!(asked(&sent(at(5, 6, 59))), (now.to_utc(), Why::Asked));
        let wait = now.to_utc() + TimeDelta::minutes(3);
        let told = Memory { next_attempt: Some(wait), ..sent(at(4, 6, 59)) };
        assert_eq!(asked(&told), (wait, Why::Asked));
        let pending = Memory { pending: Some("digest".into()), ..told.clone() };
        assert_eq!(of(&pending, "same", false, now), (wait, Why::Again));
        // A wait beyond all measure was noted while the clock was wrong, and so was a sending in the future.
        let wrong = Memory { next_attempt: Some(wait + TimeDelta::days(400)), ..told };
        assert_eq!(asked(&wrong).0, now.to_utc());
        assert_eq!(of(&sent(at(9, 0, 0)), "same", false, now).1, Why::First);
    }
}
