// SPDX-License-Identifier: Apache-2.0
//! When to ask again: 5 s first, growing to 5 min, jittered, so that a fleet does not ask in step.

use std::time::Duration;

const FIRST: f64 = 5.0;
const LONGEST: f64 = 300.0;
const GROWTH: f64 = 1.5;

/// Longest wait that a server can order.
const MAX_ORDERED: Duration = Duration::from_secs(3600);

/// The wait after this many attempts; `random` is from 0 to 1. What the server asked for is the least.
pub fn delay(attempts: u32, ordered: Option<Duration>, random: f64) -> Duration {
    let own = (FIRST * GROWTH.powi(attempts.min(30) as i32)).min(LONGEST);
    let jittered = Duration::from_secs_f64(own * (0.75 + random / 4.0));
    match ordered.map(|ordered| ordered.min(MAX_ORDERED)) {
        Some(ordered) => ordered + Duration::from_secs_f64(ordered.as_secs_f64() * random / 4.0),
        None => jittered,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_from_seconds_to_minutes() {
        assert_eq!(delay(0, None, 1.0), Duration::from_secs(5));
        assert_eq!(delay(u32::MAX, None, 1.0), Duration::from_secs(300));
        assert_eq!(delay(3, Some(Duration::from_secs(1)), 0.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn never_before_what_was_asked_and_bounded(attempts: u32, ordered in 0u64..100_000, random in 0.0..=1.0) {
            let wait = delay(attempts, Some(Duration::from_secs(ordered)), random);
            prop_assert!(wait >= Duration::from_secs(ordered.min(3600)));
            prop_assert!(wait <= Duration::from_secs(4500));
            prop_assert!(delay(attempts, None, random) >= Duration::from_secs(3));
        }
    }
}
