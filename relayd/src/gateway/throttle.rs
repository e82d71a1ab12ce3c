// SPDX-License-Identifier: Apache-2.0
//! Keeps a flood of equal events from becoming a flood of log lines.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Lets one event through per interval, after a pause some more at once, and counts the others.
pub struct Throttle {
    start: Instant,
    interval: Duration,
    /// How far `next` may run ahead of the time.
    ahead: Duration,
    /// When the next event would be in pace, in milliseconds after `start`.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Throttle {
    /// One event per `interval`.
    pub fn new(interval: Duration) -> Self {
        Self::with_burst(interval, 1)
    }

    /// One event per `interval`, and up to `most` at once after a pause.
    pub fn with_burst(interval: Duration, most: u32) -> Self {
        let ahead = interval * most.saturating_sub(1);
        Self { start: Instant::now(), interval, ahead, next: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// For an event: how many were held back since the last that went through, or `None` to hold
    /// this one back as well.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(self.start.elapsed())
    }

    fn pass_at(&self, elapsed: Duration) -> Option<u64> {
        let now = elapsed.as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        let after = next.max(now) + self.interval.as_millis() as u64;
        let passes = now + self.ahead.as_millis() as u64 >= next
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if passes {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_one_per_interval_and_counts_the_rest() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let at = |ms| throttle.pass_at(Duration::from_millis(ms));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(1), None);
        assert_eq!(at(999), None);
        assert_eq!(at(1000), Some(2));
        assert_eq!(at(5000), Some(0));
    }

    #[test]
    fn passes_a_burst_after_a_pause() {
        let throttle = Throttle::with_burst(Duration::from_secs(1), 3);
        let at = |ms| throttle.pass_at(Duration::from_millis(ms));
        for start in [0, 60_000] {
            let passed = (0..100).filter(|_| at(start).is_some()).count();
            assert_eq!(passed, 3);
        }
        assert_eq!(at(61_000), Some(97));
        assert_eq!(at(61_000), None);
    }
}
