// SPDX-License-Identifier: Apache-2.0
//! Counted results (protocol 3.5), and what they come to.

use std::str::FromStr;

use diesel::{QueryableByName, sql_types::BigInt};
use schemars::JsonSchema;
use serde::Serialize;

use crate::compliance::status::Status;

/// How many results of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema, QueryableByName)]
pub struct Counts {
    /// Enforced: already right.
    #[diesel(sql_type = BigInt)]
    pub success: i64,
    /// Enforced: changed.
    #[diesel(sql_type = BigInt)]
    pub repaired: i64,
    /// Enforced: failed.
    #[diesel(sql_type = BigInt)]
    pub error: i64,
    /// Enforced: not applicable.
    #[diesel(sql_type = BigInt)]
    pub na: i64,
    /// Audited: right.
    #[diesel(sql_type = BigInt)]
    pub audit_compliant: i64,
    /// Audited: wrong.
    #[diesel(sql_type = BigInt)]
    pub audit_noncompliant: i64,
    /// Audited: could not be checked.
    #[diesel(sql_type = BigInt)]
    pub audit_error: i64,
    /// Audited: not applicable.
    #[diesel(sql_type = BigInt)]
    pub audit_na: i64,
    /// Last known results of nodes that do not answer any more.
    #[diesel(sql_type = BigInt)]
    pub no_answer: i64,
}

/// Results that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that say this.
    Status(Status),
    /// Those that say that something is not as it should be.
    Failing,
    /// Those of nodes that do not answer any more.
    NoAnswer,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "failing" => Ok(Self::Failing),
            "no_answer" => Ok(Self::NoAnswer),
            other => {
                let status = Status::ALL.into_iter().find(|status| status.column() == other);
                status.map(Self::Status).ok_or_else(|| {
                    let names = Status::ALL.map(Status::column).join(", ");
                    format!("is none of failing, no_answer, {names}")
                })
            }
        }
    }
}

impl Wanted {
    /// How many of them there are.
    pub fn of(self, counts: &Counts) -> i64 {
        match self {
            Self::Failing => counts.failing(),
            Self::NoAnswer => counts.no_answer,
            Self::Status(status) => counts.numbers()[status as usize],
        }
    }

    /// Whether a result that says this is one of them.
    pub fn is(self, status: Status) -> bool {
        match self {
            Self::Failing => !status.is_compliant(),
            Self::NoAnswer => false,
            Self::Status(wanted) => wanted == status,
        }
    }
}

/// The columns of [`Counts`] of a set `s`, which may be missing.
pub const OF_SET: &str = "coalesce(CAST(s.success AS bigint), 0) AS success, \
    coalesce(CAST(s.repaired AS bigint), 0) AS repaired, coalesce(CAST(s.error AS bigint), 0) AS error, \
    coalesce(CAST(s.na AS bigint), 0) AS na, \
    coalesce(CAST(s.audit_compliant AS bigint), 0) AS audit_compliant, \
    coalesce(CAST(s.audit_noncompliant AS bigint), 0) AS audit_noncompliant, \
    coalesce(CAST(s.audit_error AS bigint), 0) AS audit_error, \
    coalesce(CAST(s.audit_na AS bigint), 0) AS audit_na, CAST(0 AS bigint) AS no_answer";

impl Counts {
    /// Names of the columns in tables.
    pub const COLUMNS: [&str; 9] = [
        "success",
        "repaired",
        "error",
        "na",
        "audit_compliant",
        "audit_noncompliant",
        "audit_error",
        "audit_na",
        "no_answer",
    ];

    /// What is in these columns.
    pub fn numbers(&self) -> [i64; 9] {
        let Self { success, repaired, error, na, .. } = *self;
        let Self { audit_compliant, audit_noncompliant, audit_error, audit_na, no_answer, .. } = *self;
        [success, repaired, error, na, audit_compliant, audit_noncompliant, audit_error, audit_na, no_answer]
    }

    /// All results.
    pub fn all(&self) -> i64 {
        self.numbers().iter().sum()
    }

    /// Results that say that something is not as it should be.
    pub fn failing(&self) -> i64 {
        self.error + self.audit_noncompliant + self.audit_error
    }

    /// Results that are as they should be, of 100; rounded down, so that 100 means all. `None` without results.
    pub fn compliance(&self) -> Option<f64> {
        let right = self.success + self.repaired + self.na + self.audit_compliant + self.audit_na;
        let all = self.all();
        // Two decimals. The numbers are far below the 2^53 that a float has exactly.
        (all > 0).then(|| (i128::from(right) * 10_000 / i128::from(all)) as f64 / 100.0)
    }

    /// Counts so many more of a kind.
    pub fn count(&mut self, status: Status, times: i64) {
        let counter = match status {
            Status::Success => &mut self.success,
            Status::Repaired => &mut self.repaired,
            Status::Error => &mut self.error,
            Status::Na => &mut self.na,
            Status::AuditCompliant => &mut self.audit_compliant,
            Status::AuditNoncompliant => &mut self.audit_noncompliant,
            Status::AuditError => &mut self.audit_error,
            Status::AuditNa => &mut self.audit_na,
        };
        *counter += times;
    }

    /// The same results, of a node that does not answer any more.
    pub fn unanswered(&self) -> Self {
        Self { no_answer: self.all(), ..Self::default() }
    }

    /// Counts others as well, so many times.
    pub fn add(&mut self, others: &Self, times: i64) {
        self.success += others.success * times;
        self.repaired += others.repaired * times;
        self.error += others.error * times;
        self.na += others.na * times;
        self.audit_compliant += others.audit_compliant * times;
        self.audit_noncompliant += others.audit_noncompliant * times;
        self.audit_error += others.audit_error * times;
        self.audit_na += others.audit_na * times;
        self.no_answer += others.no_answer * times;
    }
}

/// `97.21`, or nothing.
pub fn percent(compliance: Option<f64>) -> String {
    compliance.map(|number| format!("{number:.2}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        let almost = Counts { success: 99_999, error: 1, ..Counts::default() };
        assert_eq!(almost.compliance(), Some(99.99));
        let all =
            Counts { success: 1, repaired: 1, na: 1, audit_compliant: 1, audit_na: 1, ..Counts::default() };
        assert_eq!(all.compliance(), Some(100.0));
        assert_eq!(all.unanswered().compliance(), Some(0.0));
        assert_eq!(Counts::default().compliance(), None);
        let wrong =
            Counts { audit_noncompliant: 1, audit_error: 1, error: 1, success: 1, ..Counts::default() };
        assert_eq!((wrong.failing(), wrong.compliance()), (3, Some(25.0)));
    }
}
