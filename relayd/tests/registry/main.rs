// SPDX-License-Identifier: Apache-2.0
//! The registry of nodes, on SQLite and on a real PostgreSQL.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod contacts;
mod decisions;
mod enrolment;
mod files;
mod inventories;
mod keys;
mod many;
mod packages;
mod packages_measured;
mod rig;
mod software;
mod stored;
