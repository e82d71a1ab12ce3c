// SPDX-License-Identifier: Apache-2.0
//! What agents and policy servers must agree on.
//!
//! Each file holds one part of `docs/protocol.md`. Nothing here opens a socket, a database or a
//! file, and nothing needs an async runtime: input is bytes, output is bytes or checked types.
//!
//! | module | what |
//! |---|---|
//! | [`node_id`], [`run_id`], [`inventory_name`], [`file_name`] | ids and the file names that carry them |
//! | [`inventory`] | what a node says of itself: the document, read and written |
//! | [`run_log`] | reports, the run log parser and printer |
//! | [`smime`] | signatures of run logs: sign, strict verify |
//! | [`compression`] | gzip and zip with caps |
//! | [`hash`] | key hash notations, queue ids, content digests |
//! | [`certificate`], [`private_key`] | node identities |
//! | [`enrolment`] | certificate requests of nodes and the answers to them |
//! | [`succession`] | server keys signed by their predecessors |
//! | [`node_list`], [`node_tree`] | who is below whom, and changes of that |
//! | [`node_id_rule`] | where certificates of a user's own PKI name their node |
//! | [`proxy`] | HTTP proxies on the way: which, when, how a tunnel is asked for |
//! | [`tls`] | TLS settings both sides share: versions, pins |
//! | [`remote_run`] | who is asked to run, and what became of it |
//! | [`triggers`] | how a node hears of that, and tells |
//! | [`relative_path`] | paths within policies and shared folders |
//! | [`shared_file`] | files from node to node: addresses, metadata, signatures |
//! | [`policy_manifest`] | what a node's policies consist of, signed |
//! | [`urls`], [`headers`], [`limits`] | paths, headers and size limits |

mod asn1;
pub mod certificate;
pub mod compression;
pub mod enrolment;
pub mod file_name;
pub mod hash;
pub mod headers;
pub mod inventory;
pub mod inventory_name;
#[cfg(feature = "json-schema")]
mod json_schema;
pub mod limits;
pub mod node_id;
pub mod node_id_rule;
pub mod node_list;
pub mod node_tree;
mod pem;
pub mod policy_manifest;
pub mod private_key;
pub mod proxy;
pub mod public_key;
pub mod relative_path;
pub mod remote_run;
pub mod run_id;
pub mod run_log;
pub mod shared_file;
pub mod smime;
pub mod succession;
pub mod tls;
pub mod triggers;
pub mod urls;
