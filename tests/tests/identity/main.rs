// SPDX-License-Identifier: Apache-2.0
//! Who is who, end to end: real processes, a root and two levels of relays, whose trust relayd runs itself.
//!
//! | file | what |
//! |---|---|
//! | `converge` | decisions and killed relays in any order |
//! | `enrolment` | by hand, by token, by inventory; conflicts; relays |
//! | `tree` | what relays know, without their uplink as well; revocation |
//! | `faults` | the root killed, its database away, keys stolen, relays revoked |
//! | `keys` | new keys of nodes and servers under load; certificates |
//! | `attacks` | rows I1 to I4 and I9, F2 and F3 of the fault list |
//! | `authority` | a PKI of one's own |
//! | `secrets` | canaries in all output; modes of files |
//! | `many` | 2,000 connected, 200 revoked |
//! | `registry` | files, other roots, a program that decides |
//! | `restore` | a root that comes back from an older backup |
//! | `clones` | two machines with one identity, restored snapshots |

mod agent_inventory;
mod attacks;
mod authority;
mod clones;
mod converge;
mod enrolment;
mod faults;
mod keys;
mod many;
mod registry;
mod restore;
mod secrets;
mod tree;

use std::{process::Output, time::Duration};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(28);

/// All that a program printed.
fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

/// Panics with all that a program printed unless it ended with this exit status.
#[track_caller]
fn expect_exit(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
