// SPDX-License-Identifier: Apache-2.0
//! Files to look at again later, and files to leave alone until then. Bounded: what does not fit is
//! forgotten, which is harmless because a sweep finds it again. It is told, because each sweep delivers
//! again what nobody remembers to leave alone.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    sync::Arc,
    time::{Duration, Instant},
};

/// A file name as it goes round in the dispatcher.
pub type FileName = Arc<OsStr>;

/// Names with a time.
#[derive(Debug, Default)]
pub struct Later {
    /// When to look at what; the number keeps equal times apart.
    due: BTreeMap<(Instant, u64), FileName>,
    number: u64,
    /// Files that failed on their own account.
    held: HashMap<FileName, Hold>,
    /// When those whose time is long over were looked for.
    purged: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    until: Instant,
    times: u32,
}

/// What there was room to remember of a file that is to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// To leave it alone, and to look at it again.
    Both,
    /// To leave it alone; only a sweep will find it.
    OnlyHeld,
    /// Nothing: the next sweep will find it, held or not.
    Neither,
}

/// Most names kept, in each of both tables.
pub(super) const MOST: usize = 16_384;
/// First back-off of a single file, doubling.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest back-off of a single file.
const LONGEST: Duration = Duration::from_secs(60);

impl Later {
    /// Look at a file at that time. `false`: no room, only a sweep will find it.
    pub fn look_again(&mut self, name: FileName, at: Instant) -> bool {
        if self.due.len() >= MOST {
            return false;
        }
        self.number += 1;
        self.due.insert((at, self.number), name);
        true
    }

    /// Leave a file alone for its next back-off, or as long as asked if that is longer, then look
    /// again. Gives the time, and what there was room to remember.
    pub fn hold(&mut self, name: FileName, asked: Option<Duration>, now: Instant) -> (Instant, Noted) {
        let times = self.failures(&name);
        let own = SHORTEST.saturating_mul(1 << times.min(10));
        let until = now + own.max(asked.unwrap_or_default()).min(LONGEST);
        let noted = match self.note(name.clone(), until, now) {
            false => Noted::Neither,
            true if self.look_again(name, until) => Noted::Both,
            true => Noted::OnlyHeld,
        };
        (until, noted)
    }

    /// Counts a failure of the outlet against the file that met it, without holding the file.
    /// Gives how many there were in a row.
    pub fn met_closed_outlet(&mut self, name: &FileName, now: Instant) -> u32 {
        self.note(name.clone(), now, now);
        self.failures(name)
    }

    /// Leave a file alone until then, and look again.
    pub fn hold_until(&mut self, name: FileName, until: Instant, now: Instant) -> bool {
        self.note(name.clone(), until, now);
        self.look_again(name, until)
    }

    /// Whether a file is to be left alone now.
    pub fn is_held(&self, name: &OsStr, now: Instant) -> bool {
        self.held.get(name).is_some_and(|hold| hold.until > now)
    }

    /// Whether a file failed on its own account before.
    pub fn has_failed(&self, name: &OsStr) -> bool {
        self.held.contains_key(name)
    }

    /// A file was finished: forget its failures.
    pub fn forget(&mut self, name: &OsStr) {
        self.held.remove(name);
    }

    /// The next name whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<FileName> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next name is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|key| key.0)
    }

    fn failures(&self, name: &OsStr) -> u32 {
        self.held.get(name).map_or(0, |hold| hold.times)
    }

    /// `false`: no room.
    fn note(&mut self, name: FileName, until: Instant, now: Instant) -> bool {
        if self.held.len() >= MOST && !self.held.contains_key(&name) {
            if self.purged.is_none_or(|purged| purged + SHORTEST <= now) {
                self.purged = Some(now);
                self.held.retain(|_, hold| hold.until + LONGEST > now);
            }
            if self.held.len() >= MOST {
                return false;
            }
        }
        let hold = self.held.entry(name).or_insert(Hold { until, times: 0 });
        *hold = Hold { until, times: hold.times.saturating_add(1) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        Arc::from(OsStr::new(text))
    }

    #[test]
    fn a_held_file_is_left_alone_longer_each_time() {
        let (mut later, mut now) = (Later::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (until, noted) = later.hold(name("a"), None, now);
            assert_eq!(noted, Noted::Both);
            assert_eq!(until - now, Duration::from_secs(seconds));
            assert!(later.is_held(OsStr::new("a"), now));
            assert_eq!(later.pop(now), None);
            now = until;
            assert_eq!(later.pop(now), Some(name("a")));
            assert!(!later.is_held(OsStr::new("a"), now));
        }
        later.forget(OsStr::new("a"));
        assert_eq!(later.hold(name("a"), None, now).0 - now, Duration::from_secs(1));
    }

    #[test]
    fn both_tables_are_bounded() {
        let (mut later, now) = (Later::default(), Instant::now());
        for i in 0..2 * MOST {
            let (_, noted) = later.hold(name(&i.to_string()), None, now);
            assert_eq!(noted, if i < MOST { Noted::Both } else { Noted::Neither });
        }
        assert_eq!((later.due.len(), later.held.len()), (MOST, MOST));
    }
}
