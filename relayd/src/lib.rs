// SPDX-License-Identifier: Apache-2.0
//! relayd: the road between managed machines and the centre.
//!
//! The folders are the flows; see `ARCHITECTURE.md` for the map and the walk of a run log.

pub mod advisories;
pub mod api;
pub mod ca;
pub mod cache;
pub mod cli;
pub mod compliance;
pub mod config;
pub mod daemon;
pub mod db;
pub mod doctor;
pub mod durable;
pub mod expiry;
pub mod files;
pub mod finding;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod inventories;
pub mod metrics;
pub mod nodes;
pub mod open_api;
pub mod packages;
pub mod policies;
pub mod pulse;
pub mod registry;
pub mod reload;
pub mod remote_run;
pub mod resend;
pub mod retention;
pub mod server_key;
pub mod service_manager;
pub mod shared_files;
pub mod shared_folder;
pub mod sink;
pub mod spool;
pub mod status;
pub mod tasks;
pub mod tree;
pub mod triggers;
pub mod upstream;
pub mod why;
mod worker;
