// SPDX-License-Identifier: Apache-2.0
//! Fuzzes [`fuzz::targets::enrolment_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::enrolment_request(data));
