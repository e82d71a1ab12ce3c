// SPDX-License-Identifier: Apache-2.0
//! Time as the spool sees it: the wall clock, which may jump, and a steady one, which may not.

use std::{
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: what file times are compared with.
    fn wall(&self) -> SystemTime;
    /// A clock that only goes forward, at the rate of real time.
    fn steady(&self) -> Instant;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn steady(&self) -> Instant {
        Instant::now()
    }
}

/// Age of something with this time stamp; `None` when it is from the future, as after a clock was
/// set back.
pub fn age(now: SystemTime, then: SystemTime) -> Option<Duration> {
    now.duration_since(then).ok()
}

/// `42s`, `7m`, `5h`, `3d`.
pub fn short(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// How long the wall clock has agreed with the steady one.
///
/// A wall clock that jumped says nothing about the age of a file; from a jump on, only the time
/// since then counts.
#[derive(Debug)]
pub struct Agreement(Mutex<Since>);

#[derive(Debug, Clone, Copy)]
struct Since {
    wall: SystemTime,
    steady: Instant,
    jumped: bool,
}

/// More than this between the two clocks is a jump: far above what slewing does between two looks,
/// far below any retention that matters.
const TOLERANCE: Duration = Duration::from_secs(60);

impl Agreement {
    /// Starts to watch now.
    pub fn new(clock: &dyn Clock) -> Self {
        Self(Mutex::new(Since { wall: clock.wall(), steady: clock.steady(), jumped: false }))
    }

    /// For how long the clocks have agreed, and whether that began with a jump.
    pub fn check(&self, clock: &dyn Clock) -> (Duration, bool) {
        let (wall, steady) = (clock.wall(), clock.steady());
        let mut since = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = steady.saturating_duration_since(since.steady);
        let expected = since.wall.checked_add(elapsed);
        let apart = expected.map_or(Duration::MAX, |expected| match wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        });
        if apart > TOLERANCE.saturating_add(elapsed / 1000) {
            *since = Since { wall, steady, jumped: true };
            return (Duration::ZERO, true);
        }
        (elapsed, since.jumped)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clock that tests set.
    pub struct TestClock(Mutex<(SystemTime, Instant)>);

    impl TestClock {
        pub fn new() -> Self {
            Self(Mutex::new((SystemTime::now(), Instant::now())))
        }

        pub fn pass(&self, time: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = (now.0 + time, now.1 + time);
        }

        pub fn jump(&self, days: i64) {
            let mut now = self.0.lock().unwrap();
            let by = Duration::from_secs(days.unsigned_abs() * 86_400);
            now.0 = if days < 0 { now.0 - by } else { now.0 + by };
        }
    }

    impl Clock for TestClock {
        fn wall(&self) -> SystemTime {
            self.0.lock().unwrap().0
        }

        fn steady(&self) -> Instant {
            self.0.lock().unwrap().1
        }
    }

    #[test]
    fn time_passing_is_no_jump_and_a_jump_starts_anew() {
        const DAY: Duration = Duration::from_secs(86_400);
        let clock = TestClock::new();
        let agreement = Agreement::new(&clock);
        clock.pass(8 * DAY);
        assert_eq!(agreement.check(&clock), (8 * DAY, false));
        for days in [8, 365, -365, -8] {
            clock.jump(days);
            assert_eq!(agreement.check(&clock), (Duration::ZERO, true), "{days}");
            clock.pass(DAY);
            assert_eq!(agreement.check(&clock), (DAY, true), "{days}");
        }
    }
}
