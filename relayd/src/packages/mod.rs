// SPDX-License-Identifier: Apache-2.0
//! Packages of the fleet, as inventories list them.
//!
//! | file | what |
//! |---|---|
//! | [`version`] | which of two versions is newer |

pub mod version;
