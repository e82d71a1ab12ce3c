// SPDX-License-Identifier: Apache-2.0
//! Where run logs and inventories go: stored or used here (root), or forwarded (relay).

pub mod enrol;
pub mod forward;
pub mod store;
