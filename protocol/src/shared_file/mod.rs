// SPDX-License-Identifier: Apache-2.0
//! Files from node to node (protocol 6.3 version 1.1, 7.4, 15.2).
//!
//! A sender signs its file; metadata beside it say with which key, and until when the file is kept. The
//! body of an upload is metadata, an empty line, and the file as it is.
//!
//! | file | what |
//! |---|---|
//! | [`address`] | who sends to whom, and how the file is called |
//! | [`metadata`] | metadata, read strictly and written in one order |
//! | [`signature`] | hash and signature of a file, made and checked while it streams by |
//! | [`ttl`] | how long a file is kept, as senders write it |
//! | [`list`] | what waits for a node, as JSON |

pub mod address;
pub mod list;
pub mod metadata;
pub mod signature;
pub mod ttl;

pub use self::{
    address::{Address, AddressError, FileId, Name},
    list::{List, Listed},
    metadata::{Metadata, MetadataError},
    signature::{Algorithm, FileHash, Hasher, SenderKey},
    ttl::parse_ttl,
};

/// Where shared files are on a policy server, without the slash that follows.
pub const PATH: &str = "/rudder/relay-api/shared-files";
