// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::inventory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::inventory(data));
