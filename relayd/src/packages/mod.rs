// SPDX-License-Identifier: Apache-2.0
//! Packages of the fleet, as inventories list them.
//!
//! | file | what |
//! |---|---|
//! | [`version`], [`condition`] | which of two versions is newer; `<=1.2` |
//! | [`installed`] | what is installed where, as the tables have it |
//! | [`found`] | which nodes have a package |
//! | [`updates`] | updates that are on offer to nodes |
//! | `questions` | `GET /packages`, `GET /updates` |
//! | `described` | for the documents of the API |
//! | [`pages`], [`pattern`] | lists that are made in memory, by pages; names with `*` |

pub mod condition;
pub(crate) mod described;
pub mod found;
pub mod installed;
pub mod pages;
pub mod pattern;
pub(crate) mod questions;
pub mod updates;
pub mod version;
