// SPDX-License-Identifier: Apache-2.0
//! What is fuzzed; each file in `fuzz_targets/` feeds one function here.

pub mod targets;
