// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::policy_manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::policy_manifest(data));
