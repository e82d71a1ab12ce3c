// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::upload_path`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::upload_path(data));
