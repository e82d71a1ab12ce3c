// SPDX-License-Identifier: Apache-2.0
//! Taking over from an existing installation, and giving it back (docs/migration.md).
//!
//! Debian's httpd is in front as protocol 10.5 says, the database is made from the description in protocol 4, node
//! list and bundles are written by others, the agents are a shell script with curl, openssl, gzip and cf-agent. What is
//! before and after relayd is played by a small program that knows the protocol and nothing of relayd.
//!
//! | file | what |
//! |---|---|
//! | `root`, `relay` | the two journeys |
//! | `place` | a policy server: directories, owners, modes, files that others write |
//! | `front`, `daemon` | httpd; relayd |
//! | `machine` | a machine with the shell agent |
//! | `previous`, `log` | the daemon that was there before: reads spools, writes tables |
//! | `application` | the server application: reads tables and inventories |

mod application;
mod daemon;
mod front;
mod log;
mod machine;
mod place;
mod previous;
mod relay;
mod root;

use tests::{Result, programs};

/// Whether the journeys can be made here; where CI runs they must be.
fn can_run() -> Result<bool> {
    let missing: Vec<_> = ["apache2", "cf-agent", "curl", "openssl"]
        .into_iter()
        .filter(|name| programs::of_system(name).is_err())
        .collect();
    match missing.is_empty() {
        true => Ok(true),
        false if std::env::var_os("CI").is_some() => Err(format!("not installed: {missing:?}").into()),
        false => {
            eprintln!("skipped, not installed: {missing:?} (tests/install-dependencies)");
            Ok(false)
        }
    }
}
