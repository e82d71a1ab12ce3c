// SPDX-License-Identifier: Apache-2.0
//! The operating system, the name of the host, and what this agent can do.

use chrono::{DateTime, Local};
use protocol::inventory::{
    software::Variable,
    system::{OperatingSystem, TimeZone},
};
use rustix::system::uname;

use super::{super::machine::Machine, said};

/// `OPERATINGSYSTEM`.
pub fn operating_system(machine: &Machine<'_>) -> OperatingSystem {
    let release = Release::read(machine);
    let fqdn = host_name(machine);
    let boot = super::processes::boot_time(machine).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    OperatingSystem {
        arch: said(uname().machine().to_string_lossy()),
        boot_time: boot.map(|at| at.with_timezone(&Local).format("%F %T").to_string()),
        domain: fqdn.split_once('.').and_then(|(_, domain)| said(domain)),
        full_name: said(release.full_name()),
        kernel_name: said("linux"),
        kernel_version: said(uname().release().to_string_lossy()),
        name: said(release.name()),
        ssh_keys: machine.line("etc/ssh/ssh_host_ed25519_key.pub").into_iter().collect(),
        time_zone: Some(time_zone(machine)),
        version: said(&release.version),
        fqdn: Some(fqdn),
        ..OperatingSystem::default()
    }
}

/// What `os-release` says (os-release(5)).
#[derive(Debug, Default)]
pub struct Release {
    id: String,
    name: String,
    version: String,
    pretty: String,
}

impl Release {
    /// Reads it where it is, or where it is by default.
    pub fn read(machine: &Machine<'_>) -> Self {
        let text = machine.text("etc/os-release").or_else(|| machine.text("usr/lib/os-release"));
        let mut release = Self::default();
        for (key, value) in
            text.as_deref().unwrap_or_default().lines().filter_map(|line| line.split_once('='))
        {
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            match key.trim() {
                "ID" => release.id = value,
                "NAME" => release.name = value,
                "VERSION_ID" => release.version = value,
                "PRETTY_NAME" => release.pretty = value,
                _ => {}
            }
        }
        release
    }

    /// As existing servers know it.
    pub fn name(&self) -> &str {
        let known = [
            ("debian", "Debian"),
            ("ubuntu", "Ubuntu"),
            ("centos", "CentOS"),
            ("rhel", "RedHat"),
            ("fedora", "Fedora"),
            ("almalinux", "AlmaLinux"),
            ("rocky", "Rocky"),
            ("ol", "Oracle Linux"),
            ("amzn", "Amazon"),
            ("sles", "SUSE Linux Enterprise Server"),
            ("opensuse-leap", "openSUSE"),
        ];
        let known = known.iter().find(|(id, _)| *id == self.id).map(|(_, name)| *name);
        known.unwrap_or(if self.name.is_empty() { "Linux" } else { &self.name })
    }

    /// With the version, for people.
    pub fn full_name(&self) -> &str {
        if self.pretty.is_empty() { self.name() } else { &self.pretty }
    }
}

/// The name of the host, with its domain as far as files tell: nobody is asked over the network.
pub fn host_name(machine: &Machine<'_>) -> String {
    let configured = machine.line("etc/hostname");
    let kernel = uname().nodename().to_string_lossy().into_owned();
    let name = match configured {
        Some(configured) if !machine.is_this() || kernel == "localhost" => configured,
        _ => kernel,
    };
    if name.contains('.') {
        return name;
    }
    let hosts = machine.text("etc/hosts").unwrap_or_default();
    let full = hosts.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        let first = words.next()?;
        let is_it = first.split('.').next() == Some(&*name) || words.any(|alias| alias == name);
        (is_it && first.contains('.')).then(|| first.to_owned())
    });
    full.unwrap_or(name)
}

fn time_zone(machine: &Machine<'_>) -> TimeZone {
    let linked = || {
        let target = std::fs::read_link(machine.path("etc/localtime")).ok()?;
        target.to_str()?.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    let name = machine.line("etc/timezone").or_else(linked).unwrap_or_else(|| "UTC".to_owned());
    TimeZone { name: Some(name), offset: Some(Local::now().format("%z").to_string()) }
}

/// Of the environment, what says something of the machine. The rest may hold secrets, which do not belong in
/// an inventory.
pub fn environment(machine: &Machine<'_>) -> Vec<Variable> {
    const HARMLESS: [&str; 6] = ["HOME", "LANG", "PATH", "SHELL", "TZ", "USER"];
    let is_harmless = |name: &str| HARMLESS.contains(&name) || name.starts_with("LC_");
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let all = std::env::vars_os().filter(|_| machine.is_this());
    let all =
        all.filter_map(|(name, value)| Some((text(name).filter(|name| is_harmless(name))?, text(value)?)));
    let mut all: Vec<_> = all.collect();
    all.sort();
    all.into_iter().map(|(name, value)| Variable { key: Some(name), value: Some(value.into()) }).collect()
}

/// What this agent, and what is installed beside it, can do.
pub fn capabilities(machine: &Machine<'_>) -> Vec<&'static str> {
    let there = |paths: &[&str]| paths.iter().any(|path| machine.has(path));
    let all = [
        ("acl", there(&["usr/bin/setfacl", "bin/setfacl"])),
        ("cfengine", there(&["opt/rudder/bin/cf-agent", "var/rudder/cfengine-community/bin/cf-agent"])),
        ("curl", there(&["usr/bin/curl", "opt/rudder/bin/curl"])),
        ("http_reporting", true),
        ("jq", there(&["usr/bin/jq", "opt/rudder/bin/jq"])),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn names_are_those_that_servers_know() {
        let root = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        fs::create_dir(root.path().join("etc")).unwrap();
        assert_eq!(operating_system(&machine).name.unwrap(), "Linux");
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        let hosts = "127.0.0.1 localhost\n127.0.1.1 web-1.example.com web-1 # here\n";
        for (file, text) in [("os-release", release), ("hostname", "web-1\n"), ("hosts", hosts)] {
            fs::write(root.path().join("etc").join(file), text).unwrap();
        }
        let system = operating_system(&machine);
        assert_eq!((system.name.as_deref(), system.version.as_deref()), (Some("Debian"), Some("12")));
        assert_eq!(system.full_name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(system.fqdn.as_deref(), Some("web-1.example.com"));
        assert_eq!(system.domain.as_deref(), Some("example.com"));
        assert!(system.kernel_version.is_some());
        fs::write(root.path().join("etc/os-release"), "ID=arch\nNAME='Arch Linux'\n").unwrap();
        assert_eq!(operating_system(&machine).name.unwrap(), "Arch Linux");
    }
}
