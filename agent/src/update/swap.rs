// SPDX-License-Identifier: Apache-2.0
//! New directories come into use, on trial first.
//!
//! ```text
//! staged ─note the trial─▶ exchange ─▶ validate ─┬─ passed: one write makes them the active ones, ends the trial
//!                                                └─ failed: exchange back, end the trial
//! killed anywhere ─▶ the next holder of the run lock finds the trial and exchanges back
//! ```
//!
//! Invariant: without a note of a trial, what is in place has passed.

use std::io;
use tracing::warn;

use super::{
    memory::{Memory, Trial},
    slot::{self, DirectoryId, Slot},
};
use crate::state::State;

/// A directory that is ready, for its place.
#[derive(Debug)]
pub struct Ready {
    /// The place.
    pub slot: Slot,
    /// The directory, under the name of the next one.
    pub directory: DirectoryId,
}

/// Puts directories in place, on trial.
///
/// **Errors**: as the system says; all is as it was.
pub fn begin(state: &State, memory: &mut Memory, ready: &[Ready]) -> io::Result<()> {
    let directories = ready.iter().map(|one| (one.slot.active().to_owned(), one.directory)).collect();
    memory.trial = Some(Trial { directories });
    if let Err(e) = memory.save(state) {
        memory.trial = None;
        return Err(e);
    }
    let swapped = ready.iter().try_for_each(|one| one.slot.exchange());
    if swapped.is_err() {
        take_back(state, memory)?;
    }
    swapped
}

/// They have passed: what `memory` says of them now is so. What they replaced is kept.
///
/// **Errors**: that cannot be noted; what was in use before is in use.
pub fn commit(state: &State, memory: &mut Memory, ready: &[Ready]) -> io::Result<()> {
    let trial = memory.trial.take();
    memory.replaced = ready.iter().filter_map(|one| slot::id_of(&one.slot.next()).ok().flatten()).collect();
    if let Err(e) = memory.save(state) {
        memory.trial = trial;
        take_back(state, memory)?;
        return Err(e);
    }
    for one in ready {
        // What is in use is right: no reason to go back, nor to stop.
        if let Err(e) = one.slot.keep_replaced() {
            warn!("the policies in use before cannot be kept: {e}");
        }
    }
    Ok(())
}

/// Ends a trial with what was in use before.
pub fn take_back(state: &State, memory: &mut Memory) -> io::Result<()> {
    let Some(trial) = &memory.trial else { return Ok(()) };
    for (place, directory) in &trial.directories {
        Slot::new(place.clone()).revert(*directory)?;
    }
    memory.trial = None;
    memory.save(state)
}

/// What an agent that was killed left is brought in order; needs the run lock. Gives what was done, in words.
///
/// **Errors**: policies that have not passed may be in place; nothing must run.
pub fn recover(state: &State, slots: &[Slot]) -> io::Result<Option<String>> {
    let mut memory = Memory::load(state)?;
    let words = memory.trial.is_some().then(|| {
        "an update of the policies was interrupted before they were checked; the ones before are in use"
            .to_owned()
    });
    take_back(state, &mut memory)?;
    for slot in slots {
        slot.mend()?;
        let cleared = match slot::id_of(&slot.next())? {
            None => Ok(()),
            Some(id) if memory.replaced.contains(&id) => slot.keep_replaced(),
            Some(_) => slot::remove(&slot.next()),
        };
        // What is in place has passed: that something beside it is in the way stops no run.
        if let Err(e) = cleared {
            warn!("left of an update, and cannot be removed: {e}");
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    type Step<'a> = dyn FnOnce(&mut Memory) + 'a;

    struct Machine {
        _root: tempfile::TempDir,
        state: State,
        slots: [Slot; 2],
    }

    fn machine() -> Machine {
        let root = tempfile::tempdir().unwrap();
        let state = State::open(&root.path().join("state")).unwrap();
        let slots = ["inputs", "ncf"].map(|name| Slot::new(root.path().join(name)));
        Machine { _root: root, state, slots }
    }

    impl Machine {
        fn stage(&self, content: &str) -> Vec<Ready> {
            let ready = self.slots.iter().map(|slot| {
                fs::create_dir(slot.next()).unwrap();
                fs::write(slot.next().join("file"), content).unwrap();
                Ready { slot: slot.clone(), directory: slot::id_of(&slot.next()).unwrap().unwrap() }
            });
            ready.collect()
        }

        fn contents(&self) -> Vec<String> {
            self.slots.iter().map(|slot| content(slot.active())).collect()
        }
    }

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("file")).unwrap_or_default()
    }

    /// Ends anywhere, then recovers: a copy of the whole machine at each step stands for a crash there.
    #[test]
    fn a_crash_at_any_step_leaves_what_has_passed() {
        for before in [false, true] {
            for stop_after in 0..6 {
                let machine = machine();
                let Machine { state, slots, .. } = &machine;
                let mut memory = Memory::default();
                let mut passed = String::new();
                if before {
                    let ready = machine.stage("old");
                    begin(state, &mut memory, &ready).unwrap();
                    commit(state, &mut memory, &ready).unwrap();
                    passed = "old".to_owned();
                }
                let ready = machine.stage("new");
                let mut steps: Vec<Box<Step<'_>>> = vec![
                    Box::new(|memory| {
                        let directories =
                            ready.iter().map(|one| (one.slot.active().to_owned(), one.directory)).collect();
                        memory.trial = Some(Trial { directories });
                        memory.save(state).unwrap();
                    }),
                    Box::new(|_| slots[0].exchange().unwrap()),
                    Box::new(|_| slots[1].exchange().unwrap()),
                    Box::new(|memory| {
                        memory.trial = None;
                        memory.replaced =
                            slots.iter().filter_map(|s| slot::id_of(&s.next()).unwrap()).collect();
                        memory.save(state).unwrap();
                    }),
                    Box::new(|_| slots[0].keep_replaced().unwrap()),
                ];
                steps.truncate(stop_after);
                let committed = steps.len() >= 4;
                steps.into_iter().for_each(|step| step(&mut memory));
                let words = recover(state, slots).unwrap();
                assert_eq!(words.is_some(), (1..4).contains(&stop_after));
                if committed {
                    passed = "new".to_owned();
                }
                assert_eq!(machine.contents(), [passed.clone(), passed], "{before} {stop_after}");
                for slot in slots {
                    assert!(!slot.next().exists());
                    assert_eq!(content(&slot.previous()), if committed && before { "old" } else { "" });
                }
                assert_eq!(recover(state, slots).unwrap(), None);
            }
        }
    }

    #[test]
    fn what_does_not_pass_is_taken_back() {
        let machine = machine();
        let mut memory = Memory::default();
        for content in ["one", "two"] {
            let ready = machine.stage(content);
            begin(&machine.state, &mut memory, &ready).unwrap();
            commit(&machine.state, &mut memory, &ready).unwrap();
        }
        let ready = machine.stage("three");
        begin(&machine.state, &mut memory, &ready).unwrap();
        assert_eq!(machine.contents(), ["three", "three"]);
        take_back(&machine.state, &mut memory).unwrap();
        assert_eq!(machine.contents(), ["two", "two"]);
        assert_eq!(content(&machine.slots[0].previous()), "one", "the one before stays");
        assert_eq!(Memory::load(&machine.state).unwrap(), memory);
    }

    /// As on a full disk: neither beginning nor end can be noted.
    #[test]
    fn what_cannot_be_noted_does_not_stay() {
        let machine = machine();
        let (state, mut memory) = (&machine.state, Memory::default());
        let ready = machine.stage("one");
        begin(state, &mut memory, &ready).unwrap();
        commit(state, &mut memory, &ready).unwrap();
        let noted = state.path(super::super::memory::FILE);
        let in_the_way = |yes: bool| {
            // A directory with something in it is never replaced by a file.
            match yes {
                true => {
                    fs::rename(&noted, noted.with_extension("kept")).unwrap();
                    fs::create_dir_all(noted.join("x")).unwrap();
                }
                false => {
                    fs::remove_dir_all(&noted).unwrap();
                    fs::rename(noted.with_extension("kept"), &noted).unwrap();
                }
            }
        };
        let ready = machine.stage("two");
        in_the_way(true);
        assert!(begin(state, &mut memory, &ready).is_err());
        in_the_way(false);
        assert_eq!(machine.contents(), ["one", "one"]);
        assert!(super::super::expect_passed(state).is_ok() && memory.trial.is_none());

        begin(state, &mut memory, &ready).unwrap();
        assert!(super::super::expect_passed(state).is_err(), "nothing runs meanwhile");
        in_the_way(true);
        assert!(commit(state, &mut memory, &ready).is_err());
        in_the_way(false);
        assert_eq!(machine.contents(), ["one", "one"]);
        assert!(recover(state, &machine.slots).unwrap().is_some());
        assert_eq!(machine.contents(), ["one", "one"]);
        assert!(super::super::expect_passed(state).is_ok());
    }

    #[test]
    fn something_in_the_way_stops_no_run() {
        let machine = machine();
        fs::write(machine.slots[0].next(), "a file").unwrap();
        assert_eq!(recover(&machine.state, &machine.slots).unwrap(), None);
        assert!(!machine.slots[0].next().exists());
    }

    #[test]
    fn a_damaged_memory_is_not_taken_for_none() {
        let machine = machine();
        machine.state.write(super::super::memory::FILE, &"x").unwrap();
        assert!(recover(&machine.state, &machine.slots).is_err());
    }
}
