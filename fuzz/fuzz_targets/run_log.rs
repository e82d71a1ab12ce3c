// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::run_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::run_log(data));
