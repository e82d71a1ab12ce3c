// SPDX-License-Identifier: Apache-2.0
//! Pauses between attempts to reach an upstream that is down.

use std::time::Duration;

/// Doubles with each failure, from one second to a minute. The pauses are jittered, so that relays that
/// lost their upstream together do not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

impl Backoff {
    /// After an attempt that failed: how long to pause. `asked` is what the upstream wants (`Retry-After`).
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        jittered(pause).max(asked.unwrap_or_default().min(LONGEST))
    }

    /// After one that succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness, the whole pause.
    let part = openssl::rand::rand_bytes(&mut random).map_or(u16::MAX, |()| u16::from_le_bytes(random));
    pause.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        for most in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60] {
            let (pause, most) = (backoff.pause(None), Duration::from_secs(most));
            assert!(pause >= most / 2 && pause <= most, "{pause:?} {most:?}");
        }
        backoff.reset();
        assert!(backoff.pause(None) <= FIRST);
        assert_eq!(backoff.pause(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert!(backoff.pause(Some(Duration::from_secs(86_400))) <= LONGEST);
    }
}
