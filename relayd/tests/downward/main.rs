// SPDX-License-Identifier: Apache-2.0
//! The services that go down, from outside the crate.
//!
//! | file | what |
//! |---|---|
//! | `files` | conditions, ranges, tags, the shared folder |
//! | `paths` | hostile paths |
//! | `policies` | trees of nodes, archives, manifests |
//! | `publish` | publishing, activating, going back |
//! | `cache`, `cache_faults` | what a relay fetches and keeps |
//! | `shared_files` | files from node to node |
//! | `triggers` | connections of agents |
//! | `remote_run` | both versions, against agents and relays that are played |
//! | `open_api` | the documents |
//! | `rig` | both listeners with services behind them, and clients |
#![allow(missing_docs, reason = "tests")]

#[allow(dead_code, reason = "shared with the tests of the gateway")]
#[path = "../gateway/harness.rs"]
mod harness;
mod rig;
#[allow(dead_code, reason = "shared with the tests of the tree")]
#[path = "../tree/upstream.rs"]
mod upstream;

mod cache;
mod cache_faults;
mod files;
mod open_api;
mod paths;
mod policies;
mod remote_run;
mod shared_files;
mod triggers;
