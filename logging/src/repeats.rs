// SPDX-License-Identifier: Apache-2.0
//! Equal events are written a few times in half a minute; then they are counted, and one line says how many
//! there were when the half minute is over. So is what one place of the program says in a flood, even if each
//! event is about something else. Debug and trace are written in any case: whoever asks for them wants all.
//!
//! Memory is bounded: so many events are told apart; when there are more, they pass.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::{fields::Fields, settings::REPEATS};

/// Events are counted together for so long.
const WINDOW: Duration = Duration::from_secs(30);
/// Events of one place of the program that are written within that time, be they equal or not.
const FLOOD: u32 = 1000;
/// Events that are told apart.
const MOST: usize = 1024;
/// What a summary quotes.
const QUOTED: usize = 500;

thread_local! {
    /// Summaries are written in any case.
    static SUMMING_UP: Cell<bool> = const { Cell::new(false) };
}

static ERRORS: AtomicU64 = AtomicU64::new(0);
static WARNINGS: AtomicU64 = AtomicU64::new(0);

/// Errors and warnings that passed the filter, whether they were written or held back.
pub fn counted() -> (u64, u64) {
    (ERRORS.load(Ordering::Relaxed), WARNINGS.load(Ordering::Relaxed))
}

fn count(level: Level) {
    match level {
        Level::ERROR => drop(ERRORS.fetch_add(1, Ordering::Relaxed)),
        Level::WARN => drop(WARNINGS.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    }
}

#[derive(Clone)]
pub(crate) struct Repeats(Arc<Shared>);

struct Shared {
    allowed: AtomicU32,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    seen: HashMap<u64, Seen>,
    /// Whether the thread that sums up is there: only when there was something to do for it.
    has_thread: bool,
}

struct Seen {
    since: Instant,
    times: u32,
    held_back: u64,
    said: Option<Said>,
}

/// What a summary says of the events.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    level: Level,
    text: String,
    node_id: Option<String>,
    queue_id: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Summary {
    said: Said,
    held_back: u64,
}

impl Default for Repeats {
    fn default() -> Self {
        Self(Arc::new(Shared {
            allowed: AtomicU32::new(REPEATS),
            table: Mutex::default(),
            changed: Condvar::new(),
        }))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let allowed = self.0.allowed.load(Ordering::Relaxed);
        let level = *event.metadata().level();
        if !SUMMING_UP.get() {
            count(level);
        }
        if allowed == 0 || level > Level::INFO || SUMMING_UP.get() {
            return true;
        }
        let fields = Fields::with_spans(event, &context);
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        let place = hasher.finish();
        let text = fields.text();
        text.hash(&mut hasher);
        let said = || Said {
            level,
            text: text.chars().take(QUOTED).collect(),
            node_id: fields.get("node_id").map(str::to_owned),
            queue_id: fields.get("queue_id").map(str::to_owned),
        };
        let mut table = self.0.lock();
        let passes = table.passes([(place, FLOOD), (hasher.finish(), allowed)], said, Instant::now());
        if !passes && !std::mem::replace(&mut table.has_thread, true) {
            self.start_thread();
        }
        drop(table);
        if !passes {
            self.0.changed.notify_one();
        }
        passes
    }
}

impl Repeats {
    /// How many equal events are written within the window; 0: all.
    pub(crate) fn allow(&self, repeats: u32) {
        self.0.allowed.store(repeats, Ordering::Relaxed);
    }

    /// Sums up at once.
    pub(crate) fn finish(&self) {
        let summaries = self.0.lock().take(None);
        summaries.into_iter().for_each(Summary::write);
    }

    fn start_thread(&self) {
        let shared = self.0.clone();
        let run = move || shared.sum_up();
        if let Err(error) = std::thread::Builder::new().name("log-repeats".into()).spawn(run) {
            // Not logged: that would come back here. What is held back is said in the end.
            eprintln!("cannot start the thread that sums up what is held back from the log: {error}");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps while nothing is held back.
    fn sum_up(&self) {
        let mut table = self.lock();
        loop {
            let now = Instant::now();
            let summaries = table.take(Some(now));
            if !summaries.is_empty() {
                drop(table);
                summaries.into_iter().for_each(Summary::write);
                table = self.lock();
                continue;
            }
            table = match table.next() {
                None => self.changed.wait(table).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.changed.wait_timeout(table, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Table {
    /// Whether an event may be written that counts under each of these, up to so many times.
    fn passes(&mut self, keys: [(u64, u32); 2], said: impl Fn() -> Said, now: Instant) -> bool {
        if self.seen.len() + keys.len() > MOST {
            self.seen.retain(|_, seen| seen.held_back > 0 || now < seen.since + WINDOW);
        }
        for (at, (key, most)) in keys.into_iter().enumerate() {
            if self.seen.len() >= MOST && !self.seen.contains_key(&key) {
                continue;
            }
            let new = || Seen { since: now, times: 0, held_back: 0, said: None };
            let seen = self.seen.entry(key).or_insert_with(new);
            // What is held back is taken out by `take`, which may be a little late.
            if seen.held_back == 0 && now >= seen.since + WINDOW {
                *seen = new();
            }
            if seen.times >= most {
                seen.held_back += 1;
                seen.said.get_or_insert_with(&said);
                // It is not written, so it takes no room from others of the same place.
                for (earlier, _) in &keys[..at] {
                    if let Some(seen) = self.seen.get_mut(earlier) {
                        seen.times = seen.times.saturating_sub(1);
                    }
                }
                return false;
            }
            seen.times += 1;
        }
        true
    }

    /// Takes out what is over at that time, or all, with what is to be said of it.
    fn take(&mut self, now: Option<Instant>) -> Vec<Summary> {
        let is_over = |seen: &Seen| now.is_none_or(|now| now >= seen.since + WINDOW);
        self.seen
            .extract_if(|_, seen| seen.held_back > 0 && is_over(seen))
            .filter_map(|(_, seen)| Some(Summary { said: seen.said?, held_back: seen.held_back }))
            .collect()
    }

    /// When something is over.
    fn next(&self) -> Option<Instant> {
        self.seen.values().filter(|seen| seen.held_back > 0).map(|seen| seen.since + WINDOW).min()
    }
}

impl Summary {
    fn write(self) {
        let Self { said: Said { level, text, node_id, queue_id }, held_back } = self;
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(node_id, queue_id, held_back, "{held_back} more like this: {text}")
            };
        }
        SUMMING_UP.set(true);
        match level {
            Level::ERROR => say!(error),
            Level::WARN => say!(warn),
            _ => say!(info),
        }
        SUMMING_UP.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Said {
        Said { level: Level::WARN, text: "full".into(), node_id: None, queue_id: None }
    }

    #[test]
    fn equal_events_pass_a_few_times_and_are_summed_up() {
        let mut table = Table::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let passed = (0..100).filter(|i| table.passes([(1, FLOOD), (2, 3)], said, at(i / 10))).count();
        assert_eq!(passed, 3);
        // Something else of the same place is not meant.
        assert!(table.passes([(1, FLOOD), (3, 3)], said, at(5)));
        assert_eq!(table.next(), Some(at(30)));
        assert_eq!(table.take(Some(at(29))), []);
        assert_eq!(table.take(Some(at(30))), [Summary { said: said(), held_back: 97 }]);
        assert_eq!((table.next(), table.take(None)), (None, vec![]));
        // It may be said again.
        assert!(table.passes([(1, FLOOD), (2, 3)], said, at(31)));
    }

    #[test]
    fn a_flood_of_equal_events_does_not_hold_back_others_of_the_same_place() {
        let mut table = Table::default();
        let now = Instant::now();
        let passed = (0..2 * FLOOD).filter(|_| table.passes([(1, FLOOD), (2, 3)], said, now)).count();
        assert_eq!(passed, 3);
        assert!(table.passes([(1, FLOOD), (3, 3)], said, now));
    }

    #[test]
    fn after_a_quiet_window_the_count_begins_anew() {
        let mut table = Table::default();
        let start = Instant::now();
        for i in 0..20 {
            assert!(table.passes([(1, FLOOD), (2, 1)], said, start + WINDOW * i));
        }
    }

    #[test]
    fn a_flood_of_different_events_of_one_place_is_held_back_in_bounded_memory() {
        let mut table = Table::default();
        let now = Instant::now();
        let passed = (0..100_000).filter(|i| table.passes([(1, FLOOD), (i + 2, 3)], said, now)).count();
        assert_eq!(passed, FLOOD as usize);
        assert_eq!(table.take(None), [Summary { said: said(), held_back: 99_000 }]);
        (0..10_000).for_each(|i| assert!(table.passes([(i, FLOOD), (i << 32, 3)], said, now)));
        assert!(table.seen.len() <= MOST);
    }
}
