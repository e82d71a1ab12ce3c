// SPDX-License-Identifier: Apache-2.0
//! The `relayd` program.

fn main() -> std::process::ExitCode {
    relayd::cli::main()
}
