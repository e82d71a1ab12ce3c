// SPDX-License-Identifier: Apache-2.0
//! Is this installation sound? Looks at what the daemon needs, as the daemon's user sees it, and changes nothing.
//!
//! | check | what |
//! |---|---|
//! | [`configuration`] | both files, all mistakes; the node list and the bundle |
//! | [`permissions`], [`account`] | what the daemon's user may read and write, and what nobody else may |
//! | [`ports`], [`socket_unit`] | the addresses to listen on; who opens low ports |
//! | [`certificates`] | files, keys that belong to them, expiry |
//! | [`time`] | whether somebody keeps the clock right; other clocks |
//! | [`database`] | reached, tables, rights |
//! | [`uplink`] | the server above answers |
//! | [`inotify`] | limits of the kernel |
//! | [`disk`] | room, inodes; each spool on one file system |

mod account;
mod certificates;
mod configuration;
mod database;
mod disk;
mod inotify;
mod permissions;
mod ports;
mod socket_unit;
mod time;
mod uplink;

use std::{path::Path, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;

use self::account::Account;
use crate::{
    api::client::{self, Away},
    config::{Config, look},
    finding::Finding,
};

/// The user that packages make for the daemon.
pub const USUAL_USER: &str = "rudder-relayd";

/// What is looked at.
struct Examined<'a> {
    /// The configuration directory.
    directory: &'a Path,
    config: &'a Config,
    /// Who the daemon is, or would be.
    account: &'a Account,
    /// What `system/status` says.
    daemon: &'a Result<Value, Away>,
    /// Clocks of others, and whose they are, as the checks before found them; with what this server had then.
    clocks: Vec<Clock>,
}

/// A clock of another machine or program.
struct Clock {
    of: String,
    there: DateTime<Utc>,
    here: DateTime<Utc>,
}

type Check = fn(&mut Examined<'_>) -> Vec<Finding>;

/// `time` after those that learn what time others have.
const CHECKS: [(&str, Check); 9] = [
    (configuration::NODES, configuration::nodes),
    (permissions::NAME, permissions::check),
    (ports::NAME, ports::check),
    (certificates::NAME, certificates::check),
    (database::NAME, database::check),
    (uplink::NAME, uplink::check),
    (time::NAME, time::check),
    (inotify::NAME, inotify::check),
    (disk::NAME, disk::check),
];

/// Longest wait for the daemon, which may wait for its database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at an installation. `user`: the name of the user that the daemon runs as; without one, that of the
/// daemon that runs, or the usual one.
pub fn examine(directory: &Path, user: Option<&str>) -> Vec<Finding> {
    let mut findings = configuration::files(directory);
    // The rest is about what the configuration says.
    let Ok(loaded) = look(directory) else { return findings };
    let config = &loaded.config;
    let daemon = client::status(&config.general.listen, PATIENCE);
    let running = daemon.as_ref().ok().and_then(|told| told["server"]["userId"].as_u64());
    let account = match account::find(user, running) {
        Ok(account) => account,
        Err(finding) => {
            findings.push(*finding);
            Account::own()
        }
    };
    let account = &account;
    let mut examined = Examined { directory, config, account, daemon: &daemon, clocks: Vec::new() };
    for (name, check) in CHECKS {
        let found = check(&mut examined);
        match found.is_empty() {
            true => findings.push(Finding::fine(name, "as it should be")),
            false => findings.extend(found),
        }
    }
    findings
}
