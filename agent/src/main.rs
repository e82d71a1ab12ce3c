// SPDX-License-Identifier: Apache-2.0
//! The agent's command line. See `agent --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main()
}
