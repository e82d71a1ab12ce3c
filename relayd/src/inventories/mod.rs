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
//! | [`store`], [`write`] | the thread that stores them; its transaction |
//! | `rehearsal` | is it the inventory or the database? |
//! | `dictionary` | ids of what is stored once for the whole fleet |
//! | `timeline` | what a node was when |
//! | [`collect`] | removes what nobody names any more |
//! | [`stored`] | what is stored, read again |
//! | [`changes`] | what is different between two inventories |
//! | [`questions`], `ask` | questions, and how requests ask them |
//! | `sections` | by which names they ask for parts |
//!
//! Always true: what is stored once is never changed. State and history of a node change in one
//! transaction, after which its files may go.

pub(crate) mod ask;
pub mod bucket;
pub mod changes;
pub mod collect;
pub(crate) mod described;
mod dictionary;
pub mod package;
pub mod questions;
pub mod record;
mod rehearsal;
mod sections;
pub mod store;
pub mod stored;
mod timeline;
pub mod write;
