// SPDX-License-Identifier: Apache-2.0
//! The agent as its users meet it: the real program, real processes, a real TLS server.

mod certificates;
mod command_line;
mod daemon;
mod engines;
mod enroll;
mod inventory;
mod keys;
#[path = "manual.rs"]
mod manual_pages;
mod node;
#[path = "../../../fuzz/src/policy_archive.rs"]
mod policy_archive;
mod proxy;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;
mod root;
mod run;
mod server;
mod shelf;
mod trust;
mod update;
mod upload;

#[test]
fn nothing_breaks_the_reader_of_archives() {
    replay::replay("policy_archive", policy_archive::policy_archive);
}
