// SPDX-License-Identifier: Apache-2.0
//! Why a shared file is not taken, and what its sender is told (the table of protocol 7.4).

use protocol::shared_file::{metadata::MetadataError, ttl::TtlError};

use super::store::StoreError;
use crate::http::{BodyProblem, Problem};

/// Why a shared file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("its source is not in the node list")]
    UnknownSource,
    #[error("its target is not in the node list of the root")]
    UnknownTarget,
    #[error("the request has no parameter {0}")]
    NoParameter(&'static str),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("no key of its source is known")]
    NoKnownKey,
    #[error("it was signed with another key than that of its source")]
    OtherKey,
    #[error("hash or signature are not those of the content")]
    Signature,
    #[error(transparent)]
    Ttl(#[from] TtlError),
    #[error("the time until which it should be kept cannot be counted")]
    TooLate,
    #[error("{0}")]
    Body(BodyProblem),
    #[error("too many shared files are being received")]
    Busy,
    #[error("the disk is above its high-water mark")]
    HighWater,
    #[error("it cannot be stored: {0}")]
    Store(#[from] StoreError),
    #[error("the server above cannot be asked: {0}")]
    Upstream(String),
    #[error("{0}")]
    Failed(String),
}

impl From<BodyProblem> for Refused {
    fn from(problem: BodyProblem) -> Self {
        Self::Body(problem)
    }
}

impl Refused {
    /// Whether this is for the operator of this server to mend.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::HighWater | Self::Store(_) | Self::Failed(_))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownSource | Refused::OtherKey => Self::NotFound,
            Refused::Ttl(error) => Self::BadRequest(error.to_string()),
            Refused::TooLate => Self::BadRequest(refused.to_string()),
            Refused::Body(problem) => problem.into(),
            Refused::Busy => Self::Unavailable("too many shared files are being received", 5),
            Refused::HighWater => Self::NoRoom(60),
            Refused::Store(StoreError::Full | StoreError::ReadOnly) => Self::NoRoom(60),
            Refused::Store(StoreError::Sync(_)) => {
                Self::Unavailable("the disk has failed; this server is stopping", 10)
            }
            Refused::UnknownTarget
            | Refused::NoParameter(_)
            | Refused::Metadata(_)
            | Refused::NoKnownKey
            | Refused::Signature
            | Refused::Store(StoreError::Other(_))
            | Refused::Upstream(_)
            | Refused::Failed(_) => Self::Internal,
        }
    }
}
