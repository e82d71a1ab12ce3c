// SPDX-License-Identifier: Apache-2.0
//! What a counted result says (protocol 3.5).

use std::ops::{Index, IndexMut};

/// An event type that counts in compliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Enforced: already right.
    Success,
    /// Enforced: changed.
    Repaired,
    /// Enforced: failed.
    Error,
    /// Enforced: not applicable.
    Na,
    /// Audited: right.
    AuditCompliant,
    /// Audited: wrong.
    AuditNoncompliant,
    /// Audited: could not be checked.
    AuditError,
    /// Audited: not applicable.
    AuditNa,
}

impl Status {
    /// All of them, in the order of the columns of `compliance_set`.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Repaired,
        Self::Error,
        Self::Na,
        Self::AuditCompliant,
        Self::AuditNoncompliant,
        Self::AuditError,
        Self::AuditNa,
    ];

    /// `None`: an event type that does not count.
    pub fn of(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.event_type() == event_type)
    }

    /// As reports say it.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Success => "result_success",
            Self::Repaired => "result_repaired",
            Self::Error => "result_error",
            Self::Na => "result_na",
            Self::AuditCompliant => "audit_compliant",
            Self::AuditNoncompliant => "audit_noncompliant",
            Self::AuditError => "audit_error",
            Self::AuditNa => "audit_na",
        }
    }

    /// The column of `compliance_set` that counts it.
    pub fn column(self) -> &'static str {
        self.event_type().strip_prefix("result_").unwrap_or(self.event_type())
    }

    /// Whether the component is as it should be.
    pub fn is_compliant(self) -> bool {
        !matches!(self, Self::Error | Self::AuditNoncompliant | Self::AuditError)
    }
}

/// How many results say what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u32; Status::ALL.len()]);

impl Index<Status> for Counts {
    type Output = u32;

    fn index(&self, status: Status) -> &u32 {
        &self.0[status as usize]
    }
}

impl IndexMut<Status> for Counts {
    fn index_mut(&mut self, status: Status) -> &mut u32 {
        &mut self.0[status as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counted_type_has_its_column_and_no_other_type_counts() {
        for (place, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(Status::of(status.event_type()), Some(status));
            assert_eq!(status as usize, place);
        }
        assert_eq!(Status::Na.column(), "na");
        assert_eq!(Status::AuditNa.column(), "audit_na");
        for other in ["control", "log_info", "report_json", "result_", "RESULT_NA", ""] {
            assert_eq!(Status::of(other), None, "{other}");
        }
    }
}
