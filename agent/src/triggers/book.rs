// SPDX-License-Identifier: Apache-2.0
//! Which runs were asked for, and what became of them: `triggers.json` in the state directory.
//!
//! It is what keeps a run that is offered twice from being made twice, also when the agent was killed in
//! between. Each change is made under a lock, and is on stable storage before anything follows from it.

use std::io;

use chrono::{DateTime, TimeDelta, Utc};
use protocol::{
    remote_run::{Conditions, RunRequestId},
    triggers::{MAX_RUNS, News, Taker},
};
use serde::{Deserialize, Serialize};

use crate::state::{LockError, State};

const FILE: &str = "triggers.json";

/// Runs that are remembered; more can only be offered by a server that asks for hundreds a day.
const MOST: usize = 200;

/// How long a run is remembered after the time in which it could be begun.
const REMEMBERED: TimeDelta = TimeDelta::days(1);

/// A run that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its number.
    pub id: RunRequestId,
    /// What it is told.
    pub conditions: Conditions,
    /// Whether what it writes is wanted.
    pub output: bool,
    /// Until when it may be begun, by this machine's clock.
    pub until: DateTime<Utc>,
    /// How often the policy server wants to hear of it, in seconds.
    pub heartbeat: u64,
    /// What tells this machine from a copy of it.
    pub by: Taker,
    /// What became of it.
    pub stage: Stage,
}

/// What became of a run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing yet.
    Waiting,
    /// Somebody makes it, or was killed at it.
    Begun,
    /// It is over.
    Over,
}

/// The list of runs.
#[derive(Debug, Clone, Copy)]
pub struct Book<'a> {
    state: &'a State,
}

impl<'a> Book<'a> {
    /// In this state directory.
    pub fn of(state: &'a State) -> Self {
        Self { state }
    }

    /// Notes the runs that are new, and gives how many these are.
    pub fn note(&self, news: &News, now: DateTime<Utc>) -> io::Result<usize> {
        self.change(|runs| {
            runs.retain(|run| now < run.until + REMEMBERED && run.until <= now + TimeDelta::days(2));
            let before = runs.len();
            for offer in news.runs.iter().take(MAX_RUNS) {
                if runs.iter().any(|run| run.id == offer.id) {
                    continue;
                }
                let left = TimeDelta::milliseconds(offer.expires_in_ms.min(86_400_000) as i64);
                let mut random = [0; 8];
                openssl::rand::rand_bytes(&mut random)?;
                runs.push(Noted {
                    id: offer.id,
                    conditions: offer.conditions.clone(),
                    output: offer.output,
                    until: now + left,
                    heartbeat: news.pace.heartbeat.clamp(1, 60),
                    by: Taker::new(random),
                    stage: Stage::Waiting,
                });
            }
            let new = runs.len() - before;
            while runs.len() > MOST {
                let over = runs.iter().position(|run| run.stage == Stage::Over).unwrap_or(0);
                runs.remove(over);
            }
            Ok(new)
        })
    }

    /// The runs that the policy server need not offer: those in hand first, then those that were over last.
    pub fn known(&self, now: DateTime<Utc>) -> Vec<RunRequestId> {
        let runs = self.read();
        let (over, in_hand): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.stage == Stage::Over);
        let over = over.into_iter().rev().filter(|run| now < run.until);
        in_hand.into_iter().chain(over).map(|run| run.id).take(MAX_RUNS).collect()
    }

    /// The next run to make.
    pub fn next(&self) -> Option<Noted> {
        self.read().into_iter().find(|run| run.stage == Stage::Waiting)
    }

    /// Runs that somebody has begun and not ended.
    pub fn begun(&self) -> Vec<Noted> {
        self.read().into_iter().filter(|run| run.stage == Stage::Begun).collect()
    }

    /// Whether there is anything to do.
    pub fn has_work(&self) -> bool {
        self.read().iter().any(|run| run.stage != Stage::Over)
    }

    /// Notes what became of a run.
    pub fn set(&self, id: RunRequestId, stage: Stage) -> io::Result<()> {
        self.change(|runs| {
            runs.iter_mut().filter(|run| run.id == id).for_each(|run| run.stage = stage);
            Ok(())
        })
    }

    fn read(&self) -> Vec<Noted> {
        self.state.read(FILE)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Noted>) -> io::Result<T>) -> io::Result<T> {
        let _lock = self.state.lock_triggers().map_err(|e| match e {
            LockError::Held(holder) => io::Error::other(holder),
            LockError::Io(path, e) => io::Error::new(e.kind(), format!("{}: {e}", path.display())),
        })?;
        let before = self.read();
        let mut runs = before.clone();
        let result = change(&mut runs)?;
        if runs != before {
            self.state.write(FILE, &runs)?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use protocol::triggers::{Offer, Pace};

    use super::*;

    fn news(ids: &[RunRequestId]) -> News {
        let offer = |id: &RunRequestId| Offer {
            id: *id,
            conditions: "a".parse().unwrap(),
            expires_in_ms: 60_000,
            output: true,
        };
        News { pace: Pace { heartbeat: 15, reconnect_within: 1 }, runs: ids.iter().map(offer).collect() }
    }

    #[test]
    fn a_run_that_is_offered_again_is_the_same_run() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let (book, now) = (Book::of(&state), Utc::now());
        let [first, second] = [RunRequestId::new(), RunRequestId::new()];
        assert_eq!(book.note(&news(&[first]), now).unwrap(), 1);
        let noted = book.next().unwrap();
        assert_eq!(book.note(&news(&[first, second]), now).unwrap(), 1);
        assert_eq!(book.next(), Some(noted));
        book.set(first, Stage::Over).unwrap();
        assert_eq!(book.note(&news(&[first]), now).unwrap(), 0);
        assert_eq!(book.next().unwrap().id, second);
        assert_eq!(book.known(now), [second, first], "those in hand first");
        assert_eq!(book.known(now + TimeDelta::minutes(2)), [second]);
        book.set(second, Stage::Begun).unwrap();
        assert!(book.next().is_none() && book.has_work());
        assert_eq!(book.begun()[0].id, second);
        // Forgotten when nobody can offer it any more.
        assert_eq!(book.note(&news(&[]), now + TimeDelta::days(2)).unwrap(), 0);
        assert!(!book.has_work());
    }

    #[test]
    fn the_book_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let (book, now) = (Book::of(&state), Utc::now());
        for _ in 0..MOST / 8 {
            let ids: Vec<_> = (0..MAX_RUNS + 4).map(|_| RunRequestId::new()).collect();
            assert_eq!(book.note(&news(&ids), now).unwrap(), MAX_RUNS);
        }
        assert_eq!(book.read().len(), MOST);
        assert_eq!(book.known(now).len(), MAX_RUNS);
    }
}
