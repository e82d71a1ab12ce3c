// SPDX-License-Identifier: Apache-2.0
//! What tests look at on a machine with the packages.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use tests::{
    Result,
    debian::{Debian, Machine},
};

/// Path, owner and group, mode: docs/protocol.md, 10.2, on a machine without HTTP server, whose part the daemon's own
/// gateway has.
pub const DIRECTORIES: &[(&str, &str, u32)] = &[
    ("/var/rudder/inventories", "rudder-relayd:rudder", 0o750),
    ("/var/rudder/inventories/incoming", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/inventories/failed", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/inventories/accepted-nodes-updates", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/reports/incoming", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/reports/failed", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/shared-files", "rudder-relayd:rudder", 0o770),
    ("/var/rudder/configuration-repository/shared-files", "root:rudder", 0o2750),
    ("/var/rudder/share", "root:rudder-policy-reader", 0o2750),
    ("/var/rudder/lib/relay", "root:rudder", 0o770),
    ("/var/rudder/lib/ssl", "root:rudder", 0o1775),
    ("/var/rudder/relayd", "root:rudder", 0o1770),
    ("/var/rudder/relayd/policy-key", "root:root", 0o700),
    ("/opt/rudder/etc/relayd", "root:rudder", 0o750),
    ("/opt/rudder/etc/relayd/main.conf", "root:rudder", 0o640),
    ("/opt/rudder/etc/relayd/logging.conf", "root:rudder", 0o640),
    ("/etc/sudoers.d/relayd", "root:root", 0o440),
];

/// The same for the agent.
pub const DIRECTORIES_OF_AGENT: &[(&str, &str, u32)] = &[
    ("/var/rudder/reports/ready", "root:root", 0o700),
    ("/var/rudder/tmp/reports", "root:root", 0o700),
    ("/var/rudder/cfengine-community/ppkeys", "root:root", 0o700),
    ("/var/rudder/lib/relayd-agent", "root:root", 0o700),
    ("/opt/rudder/etc/relayd-agent.conf", "root:root", 0o600),
];

/// Checks owner, group and mode of each.
pub fn check_modes(debian: &Debian, expected: &[(&str, &str, u32)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (path, owner, mode) in expected {
        let found = owner_and_mode(debian, path)?;
        if found != (String::from(*owner), *mode) {
            wrong.push(format!("{path}: {} {:o} instead of {owner} {mode:o}", found.0, found.1));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Owner and group by the accounts of that system, and the mode.
pub fn owner_and_mode(debian: &Debian, path: &str) -> Result<(String, u32)> {
    let metadata = fs::symlink_metadata(debian.path(path)).map_err(|error| format!("{path}: {error}"))?;
    let user = name_of(&debian.path("/etc/passwd"), metadata.uid())?;
    let group = name_of(&debian.path("/etc/group"), metadata.gid())?;
    Ok((format!("{user}:{group}"), metadata.mode() & 0o7777))
}

fn name_of(file: &Path, id: u32) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.split(':').nth(2).is_some_and(|n| n == id.to_string()));
    Ok(line.and_then(|line| line.split(':').next()).map_or_else(|| id.to_string(), str::to_owned))
}

/// The state of a unit: its enablement and its activity, such as `enabled inactive`.
pub fn state(machine: &Machine, unit: &str) -> Result<String> {
    let ask = |verb: &str| -> Result<String> {
        // The status says the same as the output.
        let output = machine.command("systemctl").args([verb, unit]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(format!("{} {}", ask("is-enabled")?, ask("is-active")?))
}

/// The units that failed, which is nothing when all is well.
pub fn failed(machine: &Machine) -> Result<String> {
    machine.run("systemctl", &["list-units", "--failed", "--no-legend", "--plain"])
}

/// What a root without HTTP server needs to be told.
pub const ROOT: &str = "[general]\nnode_id = \"root\"\n\n[processing.reporting]\noutput = \"database\"\n";
