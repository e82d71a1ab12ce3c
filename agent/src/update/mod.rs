// SPDX-License-Identifier: Apache-2.0
//! update
pub mod memory;
pub mod slot;
pub mod stage;
pub mod swap;
pub mod unpack;
