// SPDX-License-Identifier: Apache-2.0
//! Inventories of nodes in the root's database (protocol 19).
//!
//! | file | what |
//! |---|---|
//! | [`bucket`] | which of the 64 chunks of an inventory a package is in |

pub mod bucket;
