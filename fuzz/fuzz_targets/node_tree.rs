// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::node_tree`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::node_tree(data));
