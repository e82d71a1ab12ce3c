// SPDX-License-Identifier: Apache-2.0
//! What agents and policy servers must agree on.
//!
//! Each file holds one part of `docs/protocol.md`. Nothing here opens a socket, a database or a
//! file, and nothing needs an async runtime: input is bytes, output is bytes or checked types.
//!
//! | module | what |
//! |---|---|
//! | [`node_id`], [`run_id`], [`inventory_name`], [`file_name`] | ids and the file names that carry them |
//! | [`run_log`] | reports, the run log parser and printer |
//! | [`smime`] | signatures of run logs: sign, strict verify |
//! | [`compression`] | gzip and zip with caps |
//! | [`hash`] | key hash notations, queue ids, content digests |
//! | [`certificate`], [`private_key`] | node identities |
//! | [`node_list`] | who is below whom |
//! | [`node_id_rule`] | where certificates of a user's own PKI name their node |
//! | [`tls`] | TLS settings both sides share: versions, pins |
//! | [`urls`], [`limits`] | upload paths and size limits |

pub mod certificate;
pub mod compression;
pub mod file_name;
pub mod hash;
pub mod inventory_name;
pub mod limits;
pub mod node_id;
pub mod node_id_rule;
pub mod node_list;
pub mod private_key;
pub mod run_id;
pub mod run_log;
pub mod smime;
pub mod tls;
pub mod urls;
