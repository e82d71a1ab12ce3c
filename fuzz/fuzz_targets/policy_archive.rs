// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::policy_archive::policy_archive`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::policy_archive::policy_archive(data));
