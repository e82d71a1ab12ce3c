// SPDX-License-Identifier: Apache-2.0
//! Figures, with the targets they have to meet.

use std::fmt;

use serde_json::{Map, Value, json};
use tests::judge::Verdict;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Only informs.
    None,
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// All figures of one scenario.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    target: Target,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, target: Target) {
        self.figures.push(Figure { name: name.into(), value, unit, target });
    }

    /// Adds what the judge says.
    pub fn judge(&mut self, verdict: &Verdict) {
        for (name, value, target) in [
            ("claimed", verdict.claimed, Target::None),
            ("acknowledged", verdict.acknowledged, Target::None),
            ("stored", verdict.stored, Target::AtLeast(verdict.acknowledged as f64)),
            ("lost", verdict.lost, Target::AtMost(0.0)),
            ("duplicated", verdict.duplicated, Target::AtMost(0.0)),
            ("forged", verdict.forged, Target::AtMost(0.0)),
            ("torn", verdict.torn, Target::AtMost(0.0)),
        ] {
            self.add(name, value as f64, "", target);
        }
    }

    /// Whether every target is met.
    pub fn passed(&self) -> bool {
        self.figures.iter().all(Figure::passed)
    }

    /// One JSON object.
    pub fn json(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|f| (f.name.clone(), json!({"value": f.value, "unit": f.unit, "passed": f.passed()})))
            .collect();
        json!({"passed": self.passed(), "figures": figures})
    }
}

impl Figure {
    fn passed(&self) -> bool {
        match self.target {
            Target::None => true,
            Target::AtLeast(limit) => self.value >= limit,
            Target::AtMost(limit) => self.value <= limit,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.figures {
            let Figure { name, value, unit, target } = figure;
            let digits = if value.fract() == 0.0 || *value >= 1000.0 { 0 } else { 2 };
            write!(f, "{name:<46} {value:>12.digits$} {unit:<10}")?;
            let verdict = if figure.passed() { "ok" } else { "MISSED" };
            match target {
                Target::None => writeln!(f)?,
                Target::AtLeast(limit) => writeln!(f, " {verdict} (target: at least {limit})")?,
                Target::AtMost(limit) => writeln!(f, " {verdict} (target: at most {limit})")?,
            }
        }
        writeln!(f, "{}", if self.passed() { "All targets met." } else { "Some targets are missed." })
    }
}
