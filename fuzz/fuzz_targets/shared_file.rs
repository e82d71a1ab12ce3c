// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::shared_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::shared_file(data));
