// SPDX-License-Identifier: Apache-2.0
//! Why policies are not updated. Those in use stay in use, whatever it is.

use std::{io, path::PathBuf, time::Duration};

use protocol::policy_manifest::Refusal;

use super::unpack::UnpackError;
use crate::{
    identity::IdentityError,
    server::{connection::ConnectionError, download::DownloadError, target::TargetError},
};

/// Why policies are not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client certificate cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The file of pinned keys cannot be used.
    #[error(
        "{}: {why}\n    put the certificate of the policy key there (`relayd policy key export` prints it), or remove the file to take policies without signature",
        file.display()
    )]
    PolicyKey {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No connection, or it broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A body did not arrive.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// Another answer.
    #[error("{path}: {what}")]
    Answered {
        /// What was asked for.
        path: String,
        /// What the server said.
        what: String,
    },
    /// It took too long.
    #[error("not done within {}; `update_time_limit` in relayd-agent.conf", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The agent was told to stop.
    #[error("stopped")]
    Stopped,
    /// The manifest is refused.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// A file is not what the manifest says.
    #[error(
        "refused: {0} is not the file that the manifest names: it was altered on the way, or the policies changed meanwhile"
    )]
    Altered(String),
    /// An archive is refused.
    #[error("refused: the archive {name}: {why}")]
    Archive {
        /// Which.
        name: String,
        /// Whether it is that of the library.
        is_library: bool,
        /// Its entity tag.
        etag: Option<String>,
        /// Why.
        why: UnpackError,
    },
    /// There is no file.
    #[error("refused: the policies have no file")]
    Empty,
    /// They were tried and did not pass.
    #[error("refused, the previous policies are in use: {0}")]
    NotPassed(String),
    /// They did not pass when they were tried before, and have not changed since.
    #[error("the policies on the server did not pass on {at} and have not changed since: {reason}")]
    RefusedBefore {
        /// When.
        at: String,
        /// Why.
        reason: String,
    },
    /// The disk.
    #[error("{0}")]
    Disk(io::Error),
}

impl UpdateError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Target(e) => e.is_configuration(),
            Self::Identity(_) | Self::PolicyKey { .. } => true,
            _ => false,
        }
    }

    /// Whether there are policies that this node does not take.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Altered(_)
                | Self::Archive { .. }
                | Self::Empty
                | Self::NotPassed(_)
                | Self::RefusedBefore { .. }
        )
    }
}
