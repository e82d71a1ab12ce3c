// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::inventory::inventory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inventory::inventory(data));
