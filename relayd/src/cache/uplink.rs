// SPDX-License-Identifier: Apache-2.0
//! Whether the upstream answers. While it does not, nobody waits for it: one request in a while tries.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How long the upstream is left alone after it did not answer.
pub const PAUSE: Duration = Duration::from_secs(5);

/// What is known of the way up.
#[derive(Debug, Default)]
pub struct Uplink(Mutex<Option<Down>>);

#[derive(Debug)]
struct Down {
    why: String,
    since: SystemTime,
    again: Instant,
}

/// The upstream did not answer of late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What was wrong.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
}

impl Uplink {
    /// Whether it may be asked. Of those who may while it is down, there is one for each [`PAUSE`].
    pub fn may_ask(&self, now: Instant) -> Result<(), Lost> {
        let mut state = self.lock();
        let Some(down) = state.as_mut() else { return Ok(()) };
        if now < down.again {
            return Err(Lost { why: down.why.clone(), since: down.since });
        }
        down.again = now + PAUSE;
        Ok(())
    }

    /// It has answered; says whether it had not before.
    pub fn answered(&self) -> bool {
        self.lock().take().is_some()
    }

    /// It has not; says whether it had before.
    pub fn failed(&self, why: String, now: Instant) -> bool {
        let mut state = self.lock();
        let again = now + PAUSE;
        match state.as_mut() {
            Some(down) => {
                (down.why, down.again) = (why, again);
                false
            }
            None => {
                *state = Some(Down { why, since: SystemTime::now(), again });
                true
            }
        }
    }

    /// For people.
    pub fn lost(&self) -> Option<Lost> {
        self.lock().as_ref().map(|down| Lost { why: down.why.clone(), since: down.since })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Down>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_it_is_down_one_tries_now_and_then() {
        let (uplink, now) = (Uplink::default(), Instant::now());
        assert_eq!(uplink.may_ask(now), Ok(()));
        assert!(uplink.failed("cut".into(), now));
        assert!(!uplink.failed("cut again".into(), now));
        assert_eq!(uplink.may_ask(now).unwrap_err().why, "cut again");
        let later = now + PAUSE;
        assert_eq!(uplink.may_ask(later), Ok(()));
        assert!(uplink.may_ask(later).is_err());
        assert!(uplink.answered() && !uplink.answered());
        assert_eq!((uplink.may_ask(later), uplink.lost()), (Ok(()), None));
    }
}
