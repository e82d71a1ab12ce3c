// SPDX-License-Identifier: Apache-2.0
//! Advisories that the operator provides, and which packages of the fleet they are about.
//!
//! ```text
//! files ─▶ load ─▶ Catalogue ──┐
//!                              ├─▶ Matched ─▶ groups of nodes with findings ─▶ report ─▶ question, CLI
//! inventories in the database ─┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`advisory`] | an advisory, and the versions that it is about |
//! | [`severity`], [`distribution`] | how bad; on which nodes |
//! | [`osv`], [`table`], [`load`] | the formats of files: OSV, CSV; reading them |
//! | [`catalogue`] | all that were read, by names of packages |
//! | [`current`] | which are in use; reading them again |
//! | [`known`], [`exposure`] | which packages fall under them, and which nodes have these |
//! | [`report`], [`rows`] | by advisory, node, package, or each finding |
//! | [`question`], `described` | `GET /vulnerabilities`; for the documents of the API |
//!
//! Nothing about nodes is kept: each answer is made of the inventories that there are and the advisories
//! that were read last.

pub mod advisory;
pub mod catalogue;
pub mod current;
pub(crate) mod described;
pub mod distribution;
pub mod exposure;
pub mod known;
pub mod load;
pub mod osv;
pub mod question;
pub mod report;
pub mod rows;
pub mod severity;
pub mod table;

/// Longest summary that is kept, in bytes.
const SUMMARY: usize = 200;

/// The first line of a text, within bounds.
fn shortened(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    if line.len() <= SUMMARY {
        return line.to_owned();
    }
    format!("{}…", &line[..line.floor_char_boundary(SUMMARY)])
}
