// SPDX-License-Identifier: Apache-2.0
//! Inventories of nodes in the root's database (protocol 19).
//!
//! ```text
//! sink::enrol: verified ─▶ record (facts, chunks of packages, what is different each time)
//!                            └─▶ store: one transaction for many ─▶ dictionary, timeline, newest
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`bucket`] | which of the 64 chunks of an inventory a package is in |
//! | [`package`] | packages as the fleet has them |
//! | [`record`] | an inventory as it is stored |
//! | [`store`], `write` | the thread that stores them; its transaction |
//! | `dictionary` | ids of what is stored once for the whole fleet |
//! | `timeline` | what a node was when |
//!
//! Always true: what is stored once is never changed. State and history of a node change in one
//! transaction, after which its files may go.

pub mod bucket;
pub mod changes;
mod dictionary;
pub mod package;
pub mod questions;
pub mod record;
pub mod store;
pub mod stored;
mod timeline;
mod write;
