// SPDX-License-Identifier: Apache-2.0
//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads `5m`, `1h 30m`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is not a duration such as \"90s\", \"5m\", \"7d\""))
}

/// Reads `512KiB`, `10MiB`, `1GB`, `4096` (bytes).
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| factor > 0)
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is not a size such as \"512KiB\", \"64MiB\", \"1GB\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("5m").unwrap().as_secs(), 300);
        assert_eq!(size("32MiB").unwrap(), 32 << 20);
        assert_eq!(size("10 kB").unwrap(), 10_000);
        for bad in ["", "MiB", "-1", "1.5MiB", "10 parsecs", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(duration("5").is_err());
    }
}
