// SPDX-License-Identifier: Apache-2.0
//! The gate between a spool and its outlet.
//!
//! ```text
//!           outlet down                       probe proves the outlet works
//!   open ───────────────▶ closed until t ──▶ probing ───────────────────────▶ open
//!                              ▲                │ probe: outlet still down
//!                              └────────────────┘ (t doubles, 100 ms to 2 s)
//! ```
//! While it is closed at most one delivery, the probe, is started at a time. Only the outcome of
//! the probe moves the gate: deliveries that were under way when it closed say nothing new. When a
//! probe is due and nothing waits that could be one, it opens too: nothing is held up.

use std::time::{Duration, Instant};

/// Whether deliveries may start.
#[derive(Debug, Clone)]
pub struct Gate {
    state: State,
    /// Fraction of the back-off that is left to chance, so that a fleet does not come back at once.
    jitter: fn() -> f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    Closed { until: Instant, backoff: Duration, probing: bool },
}

/// Leave to start a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Start as many as there is room for.
    Free,
    /// Start one, and report it as the probe.
    Probe,
    /// Nothing before this time.
    NotBefore(Instant),
    /// Nothing until the probe has ended.
    AfterProbe,
}

/// What a delivery said about the outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It works.
    Up,
    /// It does not; not before this long, if the outlet said so.
    Down(Option<Duration>),
    /// Nothing: the delivery did not get as far.
    None,
}

/// What became of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Closed just now.
    Closed,
    /// Open again just now.
    Opened,
    /// As before.
    Same,
}

/// First back-off.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest back-off without word from the outlet.
const LONGEST: Duration = Duration::from_secs(2);
/// Longest back-off that an outlet can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self { state: State::Open, jitter: random_fraction }
    }

    /// What may be started now.
    pub fn leave(&self, now: Instant) -> Leave {
        match self.state {
            State::Open => Leave::Free,
            State::Closed { probing: true, .. } => Leave::AfterProbe,
            State::Closed { until, .. } if until > now => Leave::NotBefore(until),
            State::Closed { .. } => Leave::Probe,
        }
    }

    /// The probe was started.
    pub fn probe_started(&mut self) {
        if let State::Closed { probing, .. } = &mut self.state {
            *probing = true;
        }
    }

    /// Nothing waits to be delivered. `true`: that opened it.
    pub fn nothing_waits(&mut self, now: Instant) -> bool {
        let opens = self.leave(now) == Leave::Probe;
        if opens {
            self.state = State::Open;
        }
        opens
    }

    /// A delivery ended.
    pub fn ended(&mut self, is_probe: bool, evidence: Evidence, now: Instant) -> Change {
        match (&mut self.state, evidence) {
            (State::Open, Evidence::Down(asked)) => {
                self.close(SHORTEST, asked, now);
                Change::Closed
            }
            (State::Open, _) => Change::Same,
            (State::Closed { .. }, Evidence::Up) if is_probe => {
                self.state = State::Open;
                Change::Opened
            }
            (State::Closed { backoff, .. }, Evidence::Down(asked)) if is_probe => {
                let backoff = (*backoff * 2).min(LONGEST);
                self.close(backoff, asked, now);
                Change::Same
            }
            (State::Closed { probing, .. }, Evidence::None) if is_probe => {
                *probing = false;
                Change::Same
            }
            (State::Closed { until, .. }, Evidence::Down(Some(asked))) => {
                *until = (*until).max(now + asked.min(LONGEST_ASKED));
                Change::Same
            }
            (State::Closed { .. }, _) => Change::Same,
        }
    }

    fn close(&mut self, backoff: Duration, asked: Option<Duration>, now: Instant) {
        let chance = (self.jitter)();
        let own = backoff.mul_f64(0.5 + chance / 2.0);
        // Never earlier than asked; spread over a tenth more.
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED).mul_f64(1.0 + chance / 10.0);
        self.state = State::Closed { until: now + own.max(asked), backoff, probing: false };
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A number from 0 to 1; the middle when there is no randomness to be had.
fn random_fraction() -> f64 {
    let mut byte = [128];
    // Failing leaves the middle, which is as good.
    let _ = openssl::rand::rand_bytes(&mut byte);
    f64::from(byte[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate { state: State::Open, jitter: || 1.0 }
    }

    #[test]
    fn closes_backs_off_and_opens_by_one_probe() {
        let (mut gate, mut now) = (gate(), Instant::now());
        assert_eq!(gate.ended(false, Evidence::Down(None), now), Change::Closed);
        for millis in [100, 200, 400, 800, 1600, 2000, 2000] {
            let until = now + Duration::from_millis(millis);
            assert_eq!(gate.leave(now), Leave::NotBefore(until));
            now = until;
            assert_eq!(gate.leave(now), Leave::Probe);
            gate.probe_started();
            assert_eq!(gate.leave(now), Leave::AfterProbe);
            assert_eq!(gate.ended(true, Evidence::Down(None), now), Change::Same);
        }
        now += LONGEST;
        gate.probe_started();
        assert_eq!(gate.ended(true, Evidence::Up, now), Change::Opened);
        assert_eq!(gate.leave(now), Leave::Free);
    }

    #[test]
    fn opens_after_its_back_off_when_nothing_waits() {
        let (mut gate, now) = (gate(), Instant::now());
        assert!(!gate.nothing_waits(now));
        gate.ended(false, Evidence::Down(None), now);
        assert!(!gate.nothing_waits(now));
        gate.probe_started();
        assert!(!gate.nothing_waits(now + SHORTEST));
        gate.ended(true, Evidence::None, now + SHORTEST);
        assert!(gate.nothing_waits(now + SHORTEST));
        assert_eq!(gate.leave(now + SHORTEST), Leave::Free);
    }

    #[test]
    fn late_deliveries_do_not_move_a_closed_gate() {
        let (mut gate, now) = (gate(), Instant::now());
        gate.ended(false, Evidence::Down(None), now);
        let closed = gate.state.clone();
        assert_eq!(gate.ended(false, Evidence::Up, now), Change::Same);
        assert_eq!(gate.ended(false, Evidence::Down(None), now), Change::Same);
        assert_eq!(gate.state, closed);
    }

    #[test]
    fn a_probe_that_says_nothing_makes_room_for_the_next() {
        let (mut gate, now) = (gate(), Instant::now());
        gate.ended(false, Evidence::Down(None), now);
        gate.probe_started();
        assert_eq!(gate.ended(true, Evidence::None, now), Change::Same);
        assert_eq!(gate.leave(now + SHORTEST), Leave::Probe);
    }

    #[test]
    fn honours_what_the_outlet_asks_for_up_to_a_cap() {
        let now = Instant::now();
        for (asked, at_least, at_most) in [(5, 5, 6), (100_000, 60, 66)] {
            let mut gate = gate();
            gate.ended(false, Evidence::Down(Some(Duration::from_secs(asked))), now);
            let Leave::NotBefore(until) = gate.leave(now) else { panic!("open") };
            let wait = (until - now).as_secs();
            assert!((at_least..=at_most).contains(&wait), "{wait}");
        }
    }
}
