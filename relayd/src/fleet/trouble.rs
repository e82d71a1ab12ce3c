// SPDX-License-Identifier: Apache-2.0
//! Why a question has no answer, and what a client is told of it.

use crate::{db::DbError, http::Problem};

/// When to ask again after trouble that passes, in seconds.
const LATER: u64 = 10;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It makes no sense; why.
    #[error("{0}")]
    Asked(String),
    /// There is no such path.
    #[error("there is no such thing")]
    Nothing,
    /// What the question names is not known; what.
    #[error("{0}")]
    Missing(String),
    /// Something that the operator has to provide cannot be used; what.
    #[error("{0}")]
    Unusable(&'static str),
    /// It takes longer than any answer may.
    #[error("the database needs too long for that: ask for less, with filters or a smaller limit")]
    Late,
    /// Too many questions at a time.
    #[error("too many questions are being answered")]
    Busy,
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl From<diesel::result::Error> for Trouble {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Asked(why) => Self::BadRequest(why),
            Trouble::Nothing => Self::NotFound,
            Trouble::Missing(what) => Self::Missing(what),
            Trouble::Unusable(why) => Self::Unavailable(why, LATER),
            Trouble::Late => {
                let why = "the database needs too long for that: ask for less, or later";
                Self::Unavailable(why, LATER)
            }
            Trouble::Busy => Self::Unavailable("too many questions are being answered", LATER),
            Trouble::Database(error) => {
                tracing::warn!("a question cannot be answered: {error}");
                Self::Unavailable("the database does not answer", LATER)
            }
            Trouble::Internal(error) => {
                tracing::error!("a question cannot be answered: {error}");
                Self::Internal
            }
        }
    }
}
