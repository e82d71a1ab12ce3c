// SPDX-License-Identifier: Apache-2.0
//! The command line.

pub mod database;

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    todo!()
}
