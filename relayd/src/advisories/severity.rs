// SPDX-License-Identifier: Apache-2.0
//! How bad a flaw is: in the words of whoever published the advisory, or from a CVSS vector.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

/// How bad; the order is from the mildest to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The advisory does not say.
    Unknown,
    /// Also `negligible` and `unimportant`; CVSS below 4.
    Low,
    /// Also `moderate`; CVSS from 4.
    Medium,
    /// Also `important`; CVSS from 7.
    High,
    /// CVSS from 9.
    Critical,
}

/// A word that stands for no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no severity; there are critical, high, medium, low and unknown")]
pub struct NoSeverity;

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Of a CVSS base score (qualitative rating scale of CVSS 3 and 4).
    pub fn of_score(score: f64) -> Self {
        match score {
            9.0.. => Self::Critical,
            7.0.. => Self::High,
            4.0.. => Self::Medium,
            0.1.. => Self::Low,
            _ => Self::Unknown,
        }
    }
}

impl FromStr for Severity {
    type Err = NoSeverity;

    fn from_str(text: &str) -> Result<Self, NoSeverity> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "minor" | "negligible" | "unimportant" => Self::Low,
            "unknown" | "none" | "not yet assigned" | "untriaged" | "end-of-life" | "" => Self::Unknown,
            _ => return Err(NoSeverity),
        })
    }
}

/// The base score of a CVSS vector of version 3.0 or 3.1; `None` for anything else. Vectors of version 4
/// cannot be computed without its tables.
pub fn cvss3_score(vector: &str) -> Option<f64> {
    let metrics = vector.strip_prefix("CVSS:3.1/").or_else(|| vector.strip_prefix("CVSS:3.0/"))?;
    let metric = |name: &str| metrics.split('/').find_map(|metric| metric.strip_prefix(name));
    let weight = |name: &str, weights: &[(&str, f64)]| {
        let value = metric(name)?;
        weights.iter().find(|(letter, _)| *letter == value).map(|(_, weight)| *weight)
    };
    let changed = match metric("S:")? {
        "C" => true,
        "U" => false,
        _ => return None,
    };
    let privileges = if changed { [0.85, 0.68, 0.5] } else { [0.85, 0.62, 0.27] };
    let exploitability = 8.22
        * weight("AV:", &[("N", 0.85), ("A", 0.62), ("L", 0.55), ("P", 0.2)])?
        * weight("AC:", &[("L", 0.77), ("H", 0.44)])?
        * weight("PR:", &[("N", privileges[0]), ("L", privileges[1]), ("H", privileges[2])])?
        * weight("UI:", &[("N", 0.85), ("R", 0.62)])?;
    let loss = |name| weight(name, &[("H", 0.56), ("L", 0.22), ("N", 0.0)]);
    let base = 1.0 - (1.0 - loss("C:")?) * (1.0 - loss("I:")?) * (1.0 - loss("A:")?);
    let impact = if changed { 7.52 * (base - 0.029) - 3.25 * (base - 0.02).powi(15) } else { 6.42 * base };
    if impact <= 0.0 {
        return Some(0.0);
    }
    let whole = if changed { 1.08 * (impact + exploitability) } else { impact + exploitability };
    // Rounded up to a tenth, in integers, as the specification does it.
    let rounded = (whole.min(10.0) * 100_000.0).round() as u64;
    Some(rounded.div_ceil(10_000) as f64 / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_published_examples() {
        for (vector, score) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H", 5.5),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ] {
            assert_eq!(cvss3_score(vector), Some(score), "{vector}");
        }
        assert_eq!(cvss3_score("CVSS:3.1/AV:N/AC:L"), None);
        assert_eq!(cvss3_score("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"), None);
    }

    #[test]
    fn the_words_of_publishers_are_known_and_ordered() {
        let order: Vec<Severity> = ["critical", "Important", "MODERATE", "negligible", "not yet assigned"]
            .map(|w| w.parse().unwrap())
            .into();
        assert_eq!(order, Severity::ALL);
        assert!(order.is_sorted_by(|a, b| a > b));
        assert!("bad".parse::<Severity>().unwrap_err().to_string().contains("there are critical"));
    }
}
