// SPDX-License-Identifier: Apache-2.0
//! Advisories that the operator provides, and which packages of the fleet they are about.
//!
//! | file | what |
//! |---|---|
//! | [`advisory`] | an advisory, and the versions that it is about |
//! | [`severity`], [`distribution`] | how bad; on which nodes |
//! | [`osv`], [`table`], [`load`] | the formats of files: OSV, CSV; reading them |
//! | [`catalogue`] | all that were read, by names of packages |

pub mod advisory;
pub mod catalogue;
pub mod distribution;
pub mod load;
pub mod osv;
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
