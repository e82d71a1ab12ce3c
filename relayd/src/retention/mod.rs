// SPDX-License-Identifier: Apache-2.0
//! Retention: what is old goes, and the place for what is to come is there before it comes (protocol 4.6).
//!
//! | file | what |
//! |---|---|
//! | [`pass`] | one pass over all tables |
//! | `tables` | which tables grow, and what goes together |
//! | `time` | days and months |
//! | `clock` | how late it is, as far as that can be known |
//! | `partitions`, `old` | making partitions; dropping them |
//! | `rows` | deleting where there are none |
//! | `locks` | short waits; who holds what |
//! | [`keeper`], `metrics` | the task of the daemon |
//!
//! Of a run all goes at once: results, ledger, run. What a table lost is counted and logged.

mod clock;
pub mod keeper;
mod locks;
mod metrics;
mod old;
mod partitions;
pub mod pass;
mod rows;
mod tables;
mod time;

pub use self::{
    keeper::Keeper,
    old::Dropped,
    partitions::Made,
    pass::{Pass, Problem, Setting, prepare, run},
};
