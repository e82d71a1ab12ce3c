// SPDX-License-Identifier: Apache-2.0
//! Files to and from other nodes through the policy servers, and files of the policy server for all nodes
//! (protocol 7.4, 7.5, 15).
//!
//! | file | what |
//! |---|---|
//! | `put` | signs a file and sends it |
//! | `get` | lists what was sent to this node; fetches a file and checks its signature |
//! | `folder` | fetches from the shared folder |
//! | `incoming` | a file on its way to the disk, which has its name only when it was checked |
//!
//! Always true: no file is in memory whole; what is fetched has its name only when it is whole and, where it
//! was signed, its signature was found good.

mod folder;
mod get;
mod incoming;
mod put;

use std::{
    io,
    path::{Path, PathBuf},
};

use openssl::error::ErrorStack;
use protocol::shared_file::MetadataError;

pub use self::{
    folder::{FolderFile, fetch_from_folder},
    get::{Fetched, fetch, list},
    put::{Put, put},
};
use crate::{
    identity::{Identity, IdentityError},
    server::{
        connection::{ConnectionError, Reply},
        download::DownloadError,
        session::Session,
        target::{Target, TargetError},
        trust,
    },
    settings::Settings,
};

/// Why a file was not brought or fetched. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// This node has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The answer did not arrive.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A file of this machine.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Signing or hashing.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
    /// The policy server has no such file for this node.
    #[error(
        "the policy server has no {0} for this node\n    `agent share list` shows what there is; what has expired is removed"
    )]
    NotThere(String),
    /// What was fetched is not what its sender signed.
    #[error(
        "{0}; nothing was written\n    ask the sender to send it again; if that does not help, somebody alters files on the way"
    )]
    Altered(String),
    /// The policy server says no.
    #[error("{0}")]
    Refused(String),
}

impl ShareError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Target(error) => error.is_configuration(),
            Self::Identity(error) => !matches!(error, IdentityError::Io(..)),
            _ => false,
        }
    }

    fn of_file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), error }
    }

    /// An answer that nobody expects.
    fn unexpected(reply: &Reply) -> Self {
        let (status, detail) = (reply.status, reply.detail());
        Self::Refused(format!("the policy server answered {status}: {detail}"))
    }
}

impl From<MetadataError> for ShareError {
    fn from(error: MetadataError) -> Self {
        Self::Altered(error.to_string())
    }
}

/// A conversation with the policy server as this node.
fn session<'a>(settings: &'a Settings, identity: &Identity) -> Result<Session<'a>, ShareError> {
    let client = trust::client_identity(settings, identity)?;
    Ok(Session::new(settings, Target::of(settings, Some(&client))?))
}
