// SPDX-License-Identifier: Apache-2.0
//! The life of the Debian packages on a machine with nothing before them.

use std::{fs, process::Command};

use tests::{
    Result,
    debian::{Debian, Machine, Network, succeed},
};

use crate::{
    built::{Debs, OLDER, VERSION, debian_with, debs},
    machine::{DIRECTORIES, DIRECTORIES_OF_AGENT, ROOT, check_modes, expect, failed, state},
};

const SERVICE: &str = "rudder-relayd.service";
const SOCKET: &str = "relayd-gateway.socket";
const AGENT: &str = "relayd-agent.service";

#[test]
fn lintian_finds_no_errors() {
    if debian_with(&["lintian", "dh"]).unwrap().is_none() {
        return;
    }
    let debs = debs().unwrap();
    // Warnings are for the one who packages: the layout is that of the installation taken over.
    succeed(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error"])
            .args([&debs.relayd, &debs.agent]),
    )
    .unwrap();
}

#[test]
fn packages_live_and_die_as_they_should() {
    let Some(debian) = debian_with(&["dh"]).unwrap() else { return };
    let debs = debs().unwrap();
    let machine = debian.boot(Network::Private).unwrap();
    put(&debian, &debs).unwrap();
    is_a_node(&debian).unwrap();

    install(&machine, &["old.deb", "old-agent.deb"]).unwrap();
    fresh(&debian, &machine).unwrap();
    // Nothing starts at boot either.
    machine.power_off().unwrap();
    let machine = debian.boot(Network::Private).unwrap();
    fresh(&debian, &machine).unwrap();

    configure(&debian, &machine).unwrap();
    upgrade(&debian, &machine).unwrap();
    downgrade(&debian, &machine).unwrap();
    remove(&debian, &machine).unwrap();
    purge(&debian, &machine).unwrap();
}

fn put(debian: &Debian, debs: &Debs) -> Result<()> {
    debian.put(&debs.older_relayd, "/srv/old.deb")?;
    debian.put(&debs.older_agent, "/srv/old-agent.deb")?;
    debian.put(&debs.relayd, "/srv/new.deb")?;
    debian.put(&debs.agent, "/srv/new-agent.deb")
}

fn install(machine: &Machine, packages: &[&str]) -> Result<String> {
    let files: Vec<_> = packages.iter().map(|package| format!("/srv/{package}")).collect();
    succeed(machine.command("dpkg").arg("--install").args(files))
}

/// An id does not make a server of a machine: each node has one.
fn is_a_node(debian: &Debian) -> Result<()> {
    debian.write("/opt/rudder/etc/uuid.hive", "e745a140-40bc-4b86-b6dc-084488fc906b\n")
}

/// Installed, not configured.
fn fresh(debian: &Debian, machine: &Machine) -> Result<()> {
    assert_eq!(
        machine
            .run("getent", &["passwd", "rudder-relayd"])?
            .split_once(":x:")
            .unwrap()
            .1
            .splitn(3, ':')
            .nth(2),
        Some("Relay daemon:/var/rudder:/usr/sbin/nologin\n")
    );
    assert_eq!(machine.run("id", &["-gn", "rudder"])?, "rudder\n");
    assert_eq!(machine.run("id", &["-Gn", "rudder-relayd"])?, "rudder rudder-policy-reader\n");
    check_modes(debian, DIRECTORIES)?;
    check_modes(debian, DIRECTORIES_OF_AGENT)?;
    expect(machine, SERVICE, "enabled inactive")?;
    expect(machine, AGENT, "enabled inactive")?;
    expect(machine, "relayd-gateway.socket", "disabled inactive")?;
    assert_eq!(failed(machine)?, "");
    // No server's certificate is there to begin with.
    assert!(!debian.path("/var/rudder/lib/ssl/policy_server.pem").exists());
    // The rule is valid, and says what may be run as root, and nothing else.
    machine.run("visudo", &["--check", "--quiet"])?;
    let rules = machine.run("sudo", &["--list", "--other-user=rudder-relayd"])?;
    assert!(rules.contains("(root) NOPASSWD: /opt/rudder/bin/rudder remote run *"), "{rules}");
    // Both commands are in everybody's path.
    assert!(machine.run("relayd", &["--version"])?.starts_with("relayd "));
    assert!(machine.run("agent", &["--version"])?.starts_with("agent "));
    Ok(())
}

fn configure(debian: &Debian, machine: &Machine) -> Result<()> {
    debian.write("/opt/rudder/etc/relayd/main.conf", ROOT)?;
    machine
        .run("systemctl", &["start", SERVICE])
        .map_err(|e| format!("{e}\n{}", machine.journal(SERVICE).unwrap_or_default()))?;
    expect(machine, SERVICE, "enabled active")?;
    assert_eq!(running_version(machine)?, VERSION);
    assert_eq!(owner(machine)?, "rudder-relayd\n");
    debian.write("/var/rudder/reports/incoming/kept", "a run log that nobody has stored yet")?;
    debian.write("/var/rudder/relayd/cache/copy", "can be fetched again")?;
    // What an operator decides is kept.
    machine.run("systemctl", &["disable", AGENT])?;
    // The gateway comes later: systemd does not start a socket whose service runs.
    machine.run("systemctl", &["enable", SOCKET])?;
    machine.run("systemctl", &["restart", SERVICE])?;
    expect(machine, SOCKET, "enabled active")?;
    Ok(())
}

fn upgrade(debian: &Debian, machine: &Machine) -> Result<()> {
    let before = main_process(machine)?;
    install(machine, &["new.deb", "new-agent.deb"])?;
    assert_eq!(installed(machine)?, format!("{VERSION}-1"));
    expect(machine, SERVICE, "enabled active")?;
    assert_ne!(main_process(machine)?, before, "restarted with the new program");
    expect(machine, SOCKET, "enabled active")?;
    expect(machine, AGENT, "disabled inactive")?;
    assert_eq!(
        debian_text(debian, "/opt/rudder/etc/relayd/main.conf")?,
        ROOT,
        "changed by the operator: kept"
    );
    let logging = debian_text(debian, "/opt/rudder/etc/relayd/logging.conf")?;
    assert!(
        logging.starts_with("# logging.conf: "),
        "not changed by the operator: the new default\n{logging}"
    );
    check_modes(debian, DIRECTORIES)
}

fn downgrade(debian: &Debian, machine: &Machine) -> Result<()> {
    install(machine, &["old.deb", "old-agent.deb"])?;
    assert_eq!(installed(machine)?, format!("{OLDER}-1"));
    expect(machine, SERVICE, "enabled active")?;
    assert_eq!(debian_text(debian, "/opt/rudder/etc/relayd/main.conf")?, ROOT);
    check_modes(debian, DIRECTORIES)?;
    install(machine, &["new.deb", "new-agent.deb"])?;
    Ok(())
}

fn remove(debian: &Debian, machine: &Machine) -> Result<()> {
    // systemd has the port, for a daemon that is about to go.
    expect(machine, SOCKET, "enabled active")?;
    machine.run("dpkg", &["--remove", "relayd", "relayd-agent"])?;
    assert!(state(machine, SOCKET)?.ends_with(" inactive"), "the port is still held");
    let service = state(machine, SERVICE)?;
    assert!(service.ends_with("inactive") && !service.starts_with("enabled"), "{service}");
    assert!(!debian.path("/opt/rudder/bin/rudder-relayd").exists());
    assert_eq!(debian_text(debian, "/opt/rudder/etc/relayd/main.conf")?, ROOT);
    assert!(debian.path("/var/rudder/relayd/relayd.db").exists());
    assert_eq!(failed(machine)?, "");
    // Back again, as it was.
    install(machine, &["new.deb", "new-agent.deb"])?;
    expect(machine, SERVICE, "enabled active")?;
    expect(machine, AGENT, "disabled inactive")?;
    Ok(())
}

fn purge(debian: &Debian, machine: &Machine) -> Result<()> {
    let output = machine.command("dpkg").args(["--purge", "relayd", "relayd-agent"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for gone in [
        "/opt/rudder/etc/relayd",
        "/opt/rudder/etc/relayd-agent.conf",
        "/etc/sudoers.d/relayd",
        "/var/rudder/relayd/cache",
        "/var/rudder/relayd/policy-key",
        "/var/rudder/inventories",
        "/var/rudder/shared-files",
        "/var/rudder/lib",
        "/var/rudder/tmp",
        "/etc/systemd/system/relayd.service",
        "/etc/systemd/system/multi-user.target.wants/rudder-relayd.service",
        "/usr/share/relayd",
    ] {
        assert!(fs::symlink_metadata(debian.path(gone)).is_err(), "{gone} is still there");
    }
    for data in ["/var/rudder/reports/incoming/kept", "/var/rudder/relayd/relayd.db"] {
        assert!(debian.path(data).exists(), "{data} is gone");
    }
    assert!(said.contains("data was kept in /var/rudder/reports /var/rudder/relayd"), "{said}");
    // Files of theirs may be anywhere.
    machine.run("getent", &["passwd", "rudder-relayd"])?;
    assert_eq!(failed(machine)?, "");
    let known = machine.command("dpkg").args(["--status", "relayd"]).output()?;
    assert!(!known.status.success(), "dpkg knows nothing of it");
    Ok(())
}

fn debian_text(debian: &Debian, path: &str) -> Result<String> {
    Ok(fs::read_to_string(debian.path(path))?)
}

fn installed(machine: &Machine) -> Result<String> {
    machine.run("dpkg-query", &["--show", "--showformat=${Version}", "relayd"])
}

fn main_process(machine: &Machine) -> Result<String> {
    let id = machine.run("systemctl", &["show", "--property=MainPID", "--value", SERVICE])?;
    Ok(id.trim().to_owned())
}

fn owner(machine: &Machine) -> Result<String> {
    machine.run("ps", &["-o", "user:20=", "-p", &main_process(machine)?])
}

/// The version that the running daemon says it has.
fn running_version(machine: &Machine) -> Result<String> {
    let answer = machine.run("curl", &["-sSf", "http://127.0.0.1:3030/rudder/relay-api/1/system/info"])?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    Ok(answer["data"]["full-version"].as_str().unwrap_or_default().to_owned())
}
