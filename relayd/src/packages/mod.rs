// SPDX-License-Identifier: Apache-2.0
//! Packages of the fleet, as inventories list them.
//!
//! | file | what |
//! |---|---|
//! | [`version`], [`condition`] | which of two versions is newer; `<=1.2` |
//! | [`installed`] | what is installed where, as the tables have it |
//! | [`found`] | which nodes have a package |
//! | `described` | for the documents of the API |
//! | [`pages`] | lists that are made in memory, by pages |

pub mod condition;
pub(crate) mod described;
pub mod found;
pub mod installed;
pub mod pages;
pub mod version;
