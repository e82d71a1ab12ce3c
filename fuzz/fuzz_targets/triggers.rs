// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::triggers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::triggers(data));
