// SPDX-License-Identifier: Apache-2.0
//! The agent as its users meet it: the real program, real processes, a real TLS server.

mod certificates;
mod command_line;
mod daemon;
mod engines;
mod enroll;
mod keys;
mod node;
mod root;
mod run;
mod server;
mod shelf;
mod trust;
mod update;
mod upload;
