// SPDX-License-Identifier: Apache-2.0
//! What is still to be told of a run: numbered events, in bounded memory.
//!
//! ```text
//! number   0 … first-1 │ first … next-1 │ next …
//!          arrived     │ kept here      │ to come
//! ```

use std::collections::VecDeque;

use protocol::{
    remote_run::Event,
    triggers::{self, MAX_REPORT},
};

/// Bytes that are kept for a server that is slow or away, or slower than the run, some 33 of them for each line
/// beside its text; output that comes then is left out, which the last line before it says. A usual 1 MiB of output
/// (`remote_run.max_output`) has room even if all of it comes at once.
const MOST: usize = 2 * 1024 * 1024;

/// Events that have not arrived.
#[derive(Debug, Default)]
pub struct Lines {
    first: u64,
    kept: VecDeque<String>,
    size: usize,
    is_cut: bool,
    is_complete: bool,
}

impl Lines {
    /// Adds a line of output, unless there is no room for it or was none for one before.
    pub fn output(&mut self, text: &str) {
        for event in Event::output(text) {
            if self.is_cut || self.is_complete {
                return;
            }
            let line = triggers::line(&event);
            if self.size + line.len() <= MOST {
                self.push(line);
                continue;
            }
            self.is_cut = true;
            self.push(triggers::line(&Event::Output { line: String::new(), truncated: true }));
        }
    }

    /// Adds another event, for which there is always room.
    pub fn add(&mut self, event: &Event) {
        if !self.is_complete {
            self.is_complete = event.is_final();
            self.push(triggers::line(event));
        }
    }

    fn push(&mut self, line: String) {
        self.size += line.len();
        self.kept.push_back(line);
    }

    /// Number of the first event that has not arrived, and it with as many after it as one report holds.
    pub fn report(&self) -> (u64, String) {
        let mut body = String::new();
        for line in &self.kept {
            if body.len() + line.len() > MAX_REPORT {
                break;
            }
            body += line;
        }
        (self.first, body)
    }

    /// Events before this number have arrived. Gives whether that can be. With nothing told so far, they are
    /// those of a process that is no more.
    pub fn arrived(&mut self, next: u64) -> bool {
        if self.first == 0 && self.kept.is_empty() {
            self.first = next;
        }
        if next < self.first || next > self.first + self.kept.len() as u64 {
            return false;
        }
        for _ in self.first..next {
            self.size -= self.kept.pop_front().map_or(0, |line| line.len());
        }
        self.first = next;
        true
    }

    /// Whether everything that was added has arrived.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether nothing comes any more.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether nothing comes any more, and everything has arrived.
    pub fn is_over(&self) -> bool {
        self.is_complete && self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_arrived_is_told_again() {
        let mut lines = Lines::default();
        lines.add(&Event::Started);
        lines.output("one");
        let (from, body) = lines.report();
        assert_eq!((from, triggers::events(body.as_bytes()).unwrap().len()), (0, 2));
        assert!(lines.arrived(1) && !lines.arrived(0) && !lines.arrived(3));
        lines.output("two");
        let (from, body) = lines.report();
        let again: Vec<_> = ["one", "two"].into_iter().flat_map(Event::output).collect();
        assert_eq!((from, triggers::events(body.as_bytes()).unwrap()), (1, again));
        lines.add(&Event::Finished { exit_status: Some(0) });
        lines.output("too late");
        assert!(lines.arrived(4) && lines.is_over());
    }

    #[test]
    fn what_another_process_has_told_is_gone_on_from() {
        let mut lines = Lines::default();
        assert!(lines.arrived(7));
        lines.add(&Event::unreachable("it was killed"));
        assert_eq!(lines.report().0, 7);
        assert!(!lines.arrived(6) && lines.arrived(8) && lines.is_over());
    }

    #[test]
    fn what_is_too_much_is_left_out_and_marked_once() {
        let mut lines = Lines::default();
        let long = "x".repeat(100_000);
        (0..100).for_each(|_| lines.output(&long));
        lines.add(&Event::Finished { exit_status: Some(1) });
        assert!(lines.size < MOST + 1000, "{}", lines.size);
        let mut all = vec![];
        while !lines.is_over() {
            let (from, body) = lines.report();
            assert!(body.len() <= MAX_REPORT);
            let events = triggers::events(body.as_bytes()).unwrap();
            assert!(lines.arrived(from + events.len() as u64));
            all.extend(events);
        }
        let marks = all.iter().filter(|event| matches!(event, Event::Output { truncated: true, .. })).count();
        assert_eq!(marks, 1);
        assert!(matches!(
            all[all.len() - 2..],
            [Event::Output { truncated: true, .. }, Event::Finished { .. }]
        ));
    }
}
