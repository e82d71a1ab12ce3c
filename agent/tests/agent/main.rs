// SPDX-License-Identifier: Apache-2.0
//! The agent as its users meet it: the real program, real processes, a real TLS server.

mod command_line;
mod daemon;
mod engines;
mod node;
mod run;
mod server;
mod upload;
