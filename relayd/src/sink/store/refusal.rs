// SPDX-License-Identifier: Apache-2.0
//! What it is that a database has against a batch.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error};

use crate::db::connection::{LOCK_TIMEOUT, STATEMENT_TIMEOUT};

/// From how long on a failed attempt has run into which limit: SQLSTATE codes are not to be had.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    pub(super) lock: Duration,
    pub(super) statement: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self { lock: seconds(LOCK_TIMEOUT), statement: seconds(STATEMENT_TIMEOUT) }
    }
}

/// What the database says against a batch.
pub(super) struct Refusal {
    pub(super) detail: String,
    pub(super) cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A constraint is violated: trying again cannot help.
    Constraint,
    /// A row has another partition than when its statement began: that was made meanwhile.
    Rerouted,
    /// It took as long as waiting for a lock may take.
    Lock,
    /// It took as long as a statement may take.
    Slow,
    /// Anything else.
    Other,
}

impl Refusal {
    pub(super) fn new(error: &Error, took: Duration, limits: TimeLimits) -> Self {
        let cause = match error {
            // The constraint that follows from the bounds of a partition has no name, but a table.
            Error::DatabaseError(DatabaseErrorKind::CheckViolation, about)
                if about.constraint_name().is_none() && about.table_name().is_some() =>
            {
                Cause::Rerouted
            }
            Error::DatabaseError(
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ExclusionViolation
                | DatabaseErrorKind::RestrictViolation,
                _,
            )
            | Error::SerializationError(_) => Cause::Constraint,
            _ if took >= limits.statement => Cause::Slow,
            _ if took >= limits.lock => Cause::Lock,
            _ => Cause::Other,
        };
        Self { detail: error.to_string(), cause }
    }
}
