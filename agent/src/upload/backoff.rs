// SPDX-License-Identifier: Apache-2.0
//! When to try again: doubling, jittered, so that a fleet comes back spread out.

use chrono::{DateTime, TimeDelta, Utc};

const FIRST: TimeDelta = TimeDelta::seconds(15);
const LONGEST: TimeDelta = TimeDelta::minutes(10);

/// The next attempt after `failures` in a row; never before what the server asked for.
pub fn next_attempt(
    failures: u32,
    retry_after: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    random: f64,
) -> DateTime<Utc> {
    let doubled = FIRST * 2_i32.pow(failures.saturating_sub(1).min(10));
    let delay = doubled.min(LONGEST).num_milliseconds() as f64;
    match retry_after {
        Some(at) if at > now => at + TimeDelta::milliseconds((delay * random) as i64),
        _ => now + TimeDelta::milliseconds((delay * (0.5 + random / 2.0)) as i64),
    }
}

/// A number from 0 to 1.
pub fn random() -> f64 {
    let mut bytes = [0; 4];
    match openssl::rand::rand_bytes(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_limit_and_spreads() {
        let now = Utc::now();
        let wait = |failures, random| (next_attempt(failures, None, now, random) - now).num_milliseconds();
        assert_eq!((wait(1, 0.0), wait(1, 1.0)), (7_500, 15_000));
        assert_eq!(wait(3, 1.0), 60_000);
        assert_eq!(wait(u32::MAX, 1.0), 600_000);
        let ordered = now + TimeDelta::hours(1);
        assert_eq!(next_attempt(1, Some(ordered), now, 0.0), ordered);
        assert!(next_attempt(1, Some(ordered), now, 1.0) > ordered);
    }
}
