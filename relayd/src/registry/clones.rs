// SPDX-License-Identifier: Apache-2.0
//! Telling two machines with one identity from one machine that was rebooted or put back.
//!
//! Each run log says the boot id of its machine and a counter that never goes back on one machine. Run
//! logs are taken in the order of their starts; late ones say nothing.
//!
//! | boot id | counter | what it is |
//! |---|---|---|
//! | the same | higher | the next run |
//! | new | higher | a reboot |
//! | new | not higher | a restored snapshot: rollback |
//! | the same | not higher | once: rollback; again within 10 runs or 7 days: clones |
//! | one that was left | not higher | once: a restored snapshot with its memory, rollback; again: clones |
//! | one that was left | higher | clones: that machine never stopped |

use std::net::IpAddr;

use protocol::run_log::instance::Instance;
use serde::{Deserialize, Serialize};

/// What is known of the machine behind an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Start of the newest run, Unix time in seconds.
    start: i64,
    counter: u64,
    boot_id: String,
    address: Option<IpAddr>,
    /// Boot ids that were left, the newest last.
    left: Vec<Left>,
    /// When the counter of one boot id last went back, and how many runs ago.
    went_back: Option<WentBack>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    boot_id: String,
    /// Whether it came back once already.
    came_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WentBack {
    at: i64,
    runs: u32,
}

/// What a run says about its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The machine that it was, perhaps rebooted.
    Same,
    /// An older run than one that was seen, or one of the future: nothing can be told from it.
    Late,
    /// It was put back to an earlier state.
    Rollback(String),
    /// There are two.
    Clone(String),
}

/// Boot ids that are remembered.
const MOST_LEFT: usize = 32;
/// A counter that goes back again within this many runs…
const RUNS: u32 = 10;
/// …or this many seconds is that of a clone.
const PERIOD: i64 = 7 * 86_400;
/// How far a clock may be ahead, in seconds.
const AHEAD: i64 = 86_400;

impl Sightings {
    /// Takes note of a run that started then, and came in at `now`. A clock that is far ahead would make
    /// all later runs of the node late ones, so what it says is not taken.
    pub fn see(&mut self, start: i64, seen: &Instance, now: i64) -> Finding {
        if start.saturating_sub(now) > AHEAD {
            return Finding::Late;
        }
        if self.boot_id.is_empty() {
            self.take(start, seen);
            return Finding::Same;
        }
        if start <= self.start {
            return Finding::Late;
        }
        if let Some(back) = &mut self.went_back {
            back.runs = back.runs.saturating_add(1);
        }
        let forward = seen.counter > self.counter;
        let finding = if seen.boot_id == self.boot_id {
            if forward { Finding::Same } else { self.same_boot_went_back(start, seen) }
        } else if let Some(at) = self.left.iter().position(|left| left.boot_id == seen.boot_id) {
            self.left_one_came_back(at, forward, seen)
        } else if forward {
            Finding::Same
        } else {
            Finding::Rollback(format!("restored from a snapshot: {}", self.both(seen)))
        };
        self.take(start, seen);
        finding
    }

    fn same_boot_went_back(&mut self, start: i64, seen: &Instance) -> Finding {
        let again = self
            .went_back
            .replace(WentBack { at: start, runs: 0 })
            .is_some_and(|back| back.runs <= RUNS || start.saturating_sub(back.at) <= PERIOD);
        if again {
            Finding::Clone(format!("two machines use this identity by turns: {}", self.both(seen)))
        } else {
            Finding::Rollback(format!("its counter went back: {}", self.both(seen)))
        }
    }

    fn left_one_came_back(&mut self, at: usize, forward: bool, seen: &Instance) -> Finding {
        let mut left = self.left.remove(at);
        let again = std::mem::replace(&mut left.came_back, true);
        self.left.push(left);
        if again || forward {
            Finding::Clone(format!("two machines use this identity: {}", self.both(seen)))
        } else {
            Finding::Rollback(format!("restored from a snapshot with its memory: {}", self.both(seen)))
        }
    }

    /// Both machines, for people.
    fn both(&self, seen: &Instance) -> String {
        let address = |address: Option<IpAddr>| address.map_or("-".to_owned(), |a| a.to_string());
        format!(
            "boot {} at {} with counter {}, then boot {} at {} with counter {}",
            self.boot_id,
            address(self.address),
            self.counter,
            seen.boot_id,
            address(seen.address),
            seen.counter
        )
    }

    fn take(&mut self, start: i64, seen: &Instance) {
        if !self.boot_id.is_empty() && seen.boot_id != self.boot_id {
            let boot_id = std::mem::take(&mut self.boot_id);
            // Whether it came back before is known if it was left before.
            let known = self.left.iter().position(|left| left.boot_id == boot_id);
            let left = known.map(|at| self.left.remove(at)).unwrap_or(Left { boot_id, came_back: false });
            self.left.push(left);
            let surplus = self.left.len().saturating_sub(MOST_LEFT);
            self.left.drain(..surplus);
        }
        self.start = start;
        self.counter = seen.counter;
        self.boot_id.clone_from(&seen.boot_id);
        self.address = seen.address;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instance(boot_id: &str, counter: u64) -> Instance {
        Instance { counter, boot_id: boot_id.into(), address: "192.0.2.1".parse().ok() }
    }

    /// What a number of runs, one a minute, says: s(ame), l(ate), r(ollback), c(lone).
    fn findings(runs: &[(&str, u64)]) -> String {
        let mut sightings = Sightings::default();
        let word = |finding| match finding {
            Finding::Same => 's',
            Finding::Late => 'l',
            Finding::Rollback(_) => 'r',
            Finding::Clone(_) => 'c',
        };
        let see = |(i, (boot, counter)): (usize, &(&str, u64))| {
            let start = 60 * i64::try_from(i).unwrap();
            word(sightings.see(start, &instance(boot, *counter), start))
        };
        runs.iter().enumerate().map(see).collect()
    }

    #[test]
    fn runs_and_reboots_are_nothing_special() {
        assert_eq!(findings(&[("a", 1), ("a", 2), ("b", 3), ("b", 9), ("c", 10)]), "sssss");
    }

    #[test]
    fn a_restored_snapshot_is_a_rollback_and_carries_on() {
        assert_eq!(findings(&[("a", 1), ("a", 5), ("b", 3), ("b", 4), ("b", 5)]), "ssrss");
        // With its memory: the boot id comes back, and its counter went back.
        assert_eq!(findings(&[("a", 3), ("b", 7), ("a", 4), ("a", 5)]), "ssrs");
    }

    #[test]
    fn two_machines_by_turns_are_clones() {
        assert_eq!(findings(&[("a", 4), ("b", 5), ("a", 5), ("b", 6)]), "ssrc");
        assert_eq!(findings(&[("a", 4), ("b", 5), ("a", 6)]), "ssc");
        // Containers of one host have one boot id.
        assert_eq!(findings(&[("a", 1), ("a", 9), ("a", 2), ("a", 10), ("a", 3)]), "ssrsc");
    }

    #[test]
    fn a_counter_that_goes_back_after_a_long_time_is_no_clone() {
        let mut sightings = Sightings::default();
        let mut start = 0;
        let mut see = |step: i64, counter| {
            start += step;
            sightings.see(start, &instance("a", counter), start)
        };
        see(0, 5);
        assert!(matches!(see(60, 1), Finding::Rollback(_)));
        for counter in 2..20 {
            assert_eq!(see(60, counter), Finding::Same);
        }
        assert!(matches!(see(PERIOD + 1, 3), Finding::Rollback(_)));
        assert!(matches!(see(60, 3), Finding::Clone(_)));
    }

    #[test]
    fn late_runs_say_nothing() {
        let mut sightings = Sightings::default();
        sightings.see(100, &instance("a", 5), 100);
        let before = sightings.clone();
        assert_eq!(sightings.see(100, &instance("b", 1), 100), Finding::Late);
        assert_eq!(sightings.see(99, &instance("b", 9), 100), Finding::Late);
        assert_eq!(sightings, before);
    }

    #[test]
    fn a_run_of_the_far_future_does_not_make_the_others_late() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.see(86_401, &instance("a", 5), 0), Finding::Late);
        assert_eq!(sightings, Sightings::default());
        assert_eq!(sightings.see(0, &instance("a", 5), 0), Finding::Same);
        assert_eq!(sightings.see(i64::MAX, &instance("b", 6), 30), Finding::Late);
        assert!(matches!(sightings.see(60, &instance("b", 3), 60), Finding::Rollback(_)));
        assert_eq!(sightings.see(86_400, &instance("b", 4), 60), Finding::Same, "a clock may be wrong");
    }

    #[test]
    fn both_machines_are_named() {
        let mut sightings = Sightings::default();
        sightings.see(0, &instance("aa-1", 5), 0);
        let Finding::Rollback(text) = sightings.see(1, &instance("bb-2", 3), 1) else { panic!("a rollback") };
        assert!(text.contains("aa-1") && text.contains("bb-2") && text.contains("192.0.2.1"), "{text}");
    }

    proptest! {
        /// One machine, however often it reboots, is never taken for two.
        #[test]
        fn one_machine_is_never_a_clone(reboots in prop::collection::vec(any::<bool>(), 1..200)) {
            let (mut sightings, mut boot) = (Sightings::default(), 0);
            for (i, reboot) in reboots.into_iter().enumerate() {
                boot += u32::from(reboot);
                let seen = instance(&format!("boot-{boot}"), i as u64 + 1);
                prop_assert_eq!(sightings.see(i64::try_from(i).unwrap(), &seen, 0), Finding::Same);
            }
        }

        /// Two machines that both carry on are found out, whoever runs when, from the fifth turn on.
        #[test]
        fn two_machines_are_found_out(turns in prop::collection::vec(1..4_u64, 5..20), lead in 0..5_u64) {
            let mut sightings = Sightings::default();
            let mut counters = [10_u64, 10 + lead];
            let (mut start, mut found) = (0, false);
            for (i, runs) in turns.into_iter().enumerate() {
                for _ in 0..runs {
                    start += 1;
                    let counter = &mut counters[i % 2];
                    *counter += 1;
                    let seen = instance(["left", "right"][i % 2], *counter);
                    found |= matches!(sightings.see(start, &seen, start), Finding::Clone(_));
                }
            }
            prop_assert!(found);
        }

        /// What is remembered stays small, and comes back from the database as it was.
        #[test]
        fn memory_is_bounded(boots in prop::collection::vec(0..60_u32, 0..300)) {
            let mut sightings = Sightings::default();
            for (i, boot) in boots.into_iter().enumerate() {
                sightings.see(i64::try_from(i).unwrap(), &instance(&format!("b{boot}"), 1), 0);
            }
            prop_assert!(sightings.left.len() <= MOST_LEFT);
            let text = serde_json::to_string(&sightings).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sightings>(&text).unwrap(), sightings);
        }
    }
}
