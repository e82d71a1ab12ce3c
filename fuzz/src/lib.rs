// SPDX-License-Identifier: Apache-2.0
//! What is fuzzed; each file in `fuzz_targets/` feeds one function here.
//!
//! With a nightly compiler, `cargo fuzz run <target>`. The stable one finds crashes and broken
//! promises just as well, only without the address sanitizer:
//!
//! ```text
//! RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
//!   -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
//!   -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1" \
//!   cargo build --release --target x86_64-unknown-linux-gnu
//! target/x86_64-unknown-linux-gnu/release/<target> -max_total_time=600 /tmp/<target> corpus/<target>
//! ```

pub mod inventory;
pub mod policy_archive;
pub mod targets;
