// SPDX-License-Identifier: Apache-2.0
//! What tests of the database side share.
#![allow(dead_code, reason = "no test file uses all of it")]

pub mod cluster;
pub mod fleet;
