// SPDX-License-Identifier: Apache-2.0
//! Where run logs and inventories go: stored here (root) or forwarded (relay).

pub mod forward;
pub mod store;
