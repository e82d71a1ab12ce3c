// SPDX-License-Identifier: Apache-2.0
//! When a node runs: every interval, counted from the epoch, plus its own splay.
//!
//! The splay is deterministic: the bytes of the node id, as one big-endian unsigned integer, modulo the
//! splay time in seconds. So a node keeps its moment over restarts, and a fleet spreads evenly.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::node_id::NodeId;

/// This node's delay within the splay time, in whole seconds.
pub fn splay(node_id: &NodeId, splay: Duration) -> Duration {
    let modulus = u128::from(splay.as_secs());
    if modulus == 0 {
        return Duration::ZERO;
    }
    // Digit by digit in base 256: the remainder of the whole number without having it.
    let remainder =
        node_id.as_str().bytes().fold(0, |remainder, byte| (remainder * 256 + u128::from(byte)) % modulus);
    Duration::from_secs(remainder as u64)
}

/// The first moment after `now` when a node with this delay runs.
pub fn next(now: SystemTime, interval: Duration, delay: Duration) -> SystemTime {
    let interval = interval.as_secs().max(1);
    let delay = delay.as_secs() % interval;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let since_last = (now + interval - delay) % interval;
    UNIX_EPOCH + Duration::from_secs(now - since_last.min(now) + interval)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_splay_is_the_id_modulo_the_time() {
        let id: NodeId = "root".parse().unwrap();
        let number = u64::from_be_bytes(*b"\0\0\0\0root");
        assert_eq!(splay(&id, Duration::from_secs(240)).as_secs(), number % 240);
        assert_eq!(splay(&id, Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn runs_are_one_interval_apart(now in 2_000_000u64..4_000_000_000, interval in 1u64..100_000, delay in 0u64..100_000) {
            let at = |s| UNIX_EPOCH + Duration::from_secs(s);
            let (interval, delay) = (Duration::from_secs(interval), Duration::from_secs(delay));
            let first = next(at(now), interval, delay);
            prop_assert!(first > at(now) && first <= at(now) + interval);
            prop_assert_eq!(next(first, interval, delay), first + interval);
        }
    }
}
