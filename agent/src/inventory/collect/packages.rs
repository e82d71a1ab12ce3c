// SPDX-License-Identifier: Apache-2.0
//! Installed packages, as the package managers list them (`SOFTWARES`).

use std::time::Duration;

use chrono::DateTime;
use protocol::inventory::software::Software;

use super::{super::machine::Machine, said, system::Release};

/// How long a package manager may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Between fields of a line: no field has it.
const FIELD: char = '\u{1f}';

/// All packages, by name, version and architecture.
pub async fn packages(machine: &Machine<'_>) -> Vec<Software> {
    let mut all = dpkg(machine).await;
    all.extend(rpm(machine).await);
    all.sort_by(|a, b| (&a.name, &a.version, &a.arch).cmp(&(&b.name, &b.version, &b.arch)));
    all
}

async fn dpkg(machine: &Machine<'_>) -> Vec<Software> {
    let directory = machine.path("var/lib/dpkg");
    if !directory.join("status").exists() {
        return vec![];
    }
    const FORMAT: &str = "--showformat=${db:Status-Status}\u{1f}${Package}\u{1f}${Version}\u{1f}${Architecture}\u{1f}\
                          ${Installed-Size}\u{1f}${source:Package}\u{1f}${source:Version}\u{1f}${Section}\u{1f}\
                          ${Origin}\u{1f}${binary:Summary}\n";
    let place = format!("--admindir={}", directory.display());
    let command = ["dpkg-query", &place, "--show", FORMAT];
    let lines = machine.tool(&command, LIMIT, &[0]).await.unwrap_or_default();
    let release = Release::read(machine);
    lines.iter().filter_map(|line| of_dpkg(line, release.name())).collect()
}

fn of_dpkg(line: &str, distribution: &str) -> Option<Software> {
    let fields: [&str; 10] = line.split(FIELD).collect::<Vec<_>>().try_into().ok()?;
    let [status, name, version, arch, size, source, source_version, section, origin, summary] = fields;
    // Others are only configured, or half of them is there.
    let is_installed = ["installed", "triggers-pending", "triggers-awaited"].contains(&status);
    if !is_installed {
        return None;
    }
    let publisher = if origin.is_empty() { distribution } else { origin };
    Some(Software {
        arch: said(arch),
        summary: said(summary),
        size: size.parse::<u64>().ok().map(|size| size.saturating_mul(1024)),
        from: said("deb"),
        name: said(name),
        publisher: said(publisher),
        source: said(source),
        source_version: said(source_version),
        category: said(section),
        version: said(version),
        ..Software::default()
    })
}

/// Where rpm has its database, now and in older versions.
const DATABASES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

async fn rpm(machine: &Machine<'_>) -> Vec<Software> {
    let files = ["rpmdb.sqlite", "Packages", "Packages.db"];
    let used = |place: &&str| files.iter().any(|file| machine.has(&format!("{place}/{file}")));
    let Some(database) = DATABASES.into_iter().find(used) else { return vec![] };
    const FORMAT: &str = "%{NAME}\u{1f}%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\u{1f}%{ARCH}\u{1f}\
                          %{SIZE}\u{1f}%{SOURCERPM}\u{1f}%{GROUP}\u{1f}%{VENDOR}\u{1f}%{INSTALLTIME}\u{1f}%{SUMMARY}\n";
    let place = machine.path(database).display().to_string();
    let command = ["rpm", "--dbpath", &place, "--query", "--all", "--queryformat", FORMAT];
    let lines = machine.tool(&command, LIMIT, &[0]).await.unwrap_or_default();
    lines.iter().filter_map(|line| of_rpm(line)).collect()
}

fn of_rpm(line: &str) -> Option<Software> {
    let fields: [&str; 9] = line.split(FIELD).collect::<Vec<_>>().try_into().ok()?;
    let [name, version, arch, size, source, group, vendor, installed, summary] = fields.map(known);
    let installed = installed.parse().ok().and_then(|at| DateTime::from_timestamp(at, 0));
    let package = Software {
        arch: said(arch),
        summary: said(summary),
        size: size.parse().ok(),
        from: said("rpm"),
        installed: installed.map(|at| at.format("%d/%m/%Y").to_string()),
        name: said(name),
        publisher: said(vendor),
        source: source_name(source).and_then(said),
        category: said(group),
        version: said(version),
        ..Software::default()
    };
    package.name.is_some().then_some(package)
}

/// What rpm says where there is nothing.
fn known(field: &str) -> &str {
    if field == "(none)" { "" } else { field }
}

/// `name-version-release.src.rpm`: the name.
fn source_name(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    stem.rsplitn(3, '-').nth(2)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn tool(name: &str) -> bool {
        let there = Path::new("/usr/bin").join(name).exists();
        if !there {
            assert!(std::env::var_os("CI").is_none(), "{name} is needed: tests/install-dependencies");
            eprintln!("skipped: {name} is not installed");
        }
        there
    }

    const STATUS: &str = "Package: b\nStatus: install ok installed\nVersion: 1:2.0-1+b2\nArchitecture: amd64\n\
        Installed-Size: 3\nSource: src (2.0-1)\nSection: libs\nMaintainer: x\nDescription: one & only\n long\n\n\
        Package: a\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: gone\n\n\
        Package: c\nStatus: hold ok installed\nVersion: 3\nArchitecture: all\nOrigin: Ubuntu\nMaintainer: x\nDescription: kept\n";

    #[tokio::test]
    async fn packages_of_dpkg_are_those_that_are_installed() {
        if !tool("dpkg-query") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("var/lib/dpkg/status", STATUS), ("etc/os-release", "ID=debian\n")] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        let stop = CancellationToken::new();
        let all = packages(&Machine::new(root.path(), &stop)).await;
        let [b, c] = &all[..] else { panic!("{all:?}") };
        let expected = Software {
            arch: said("amd64"),
            summary: said("one & only"),
            size: Some(3072),
            from: said("deb"),
            name: said("b"),
            publisher: said("Debian"),
            source: said("src"),
            source_version: said("2.0-1"),
            category: said("libs"),
            version: said("1:2.0-1+b2"),
            ..Software::default()
        };
        assert_eq!(*b, expected);
        assert_eq!(
            (c.name.as_deref(), c.source.as_deref(), c.publisher.as_deref()),
            (Some("c"), Some("c"), Some("Ubuntu"))
        );
    }

    #[tokio::test]
    async fn packages_of_this_machine_are_those_that_its_files_list() {
        let Ok(status) = fs::read_to_string("/var/lib/dpkg/status") else {
            eprintln!("skipped: not a machine with dpkg");
            return;
        };
        let installed = status
            .lines()
            .filter(|line| line.starts_with("Status: ") && line.ends_with(" installed"))
            .count();
        let stop = CancellationToken::new();
        let all = packages(&Machine::new(Path::new("/"), &stop)).await;
        let from_dpkg: Vec<_> = all.iter().filter(|one| one.from.as_deref() == Some("deb")).collect();
        assert_eq!(from_dpkg.len(), installed);
        assert!(from_dpkg.iter().all(|one| one.version.is_some() && one.arch.is_some()));
    }

    #[test]
    fn lines_of_rpm_are_read() {
        let line = |fields: [&str; 9]| fields.join("\u{1f}");
        let source = "openssl-1.1.1k-5.el8_5.src.rpm";
        let one = of_rpm(&line([
            "openssl-libs",
            "1:1.1.1k-5.el8_5",
            "x86_64",
            "3765850",
            source,
            "Unspecified",
            "CentOS",
            "1646697600",
            "libs",
        ]))
        .unwrap();
        let said = [&one.name, &one.version, &one.source, &one.publisher, &one.installed]
            .map(|text| text.as_deref().unwrap());
        assert_eq!(said, ["openssl-libs", "1:1.1.1k-5.el8_5", "openssl", "CentOS", "08/03/2022"]);
        let key = of_rpm(&line([
            "gpg-pubkey",
            "6f07d355-509cdb91",
            "(none)",
            "0",
            "(none)",
            "Public Keys",
            "(none)",
            "1",
            "gpg(X)",
        ]))
        .unwrap();
        assert_eq!((key.arch, key.source, key.publisher), (None, None, None));
        assert_eq!(of_rpm("error: something"), None);
    }

    #[tokio::test]
    async fn a_database_of_rpm_is_asked() {
        if !tool("rpm") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let database = root.path().join("var/lib/rpm");
        fs::create_dir_all(&database).unwrap();
        let made = std::process::Command::new("rpm")
            .arg("--dbpath")
            .arg(&database)
            .arg("--initdb")
            .status()
            .unwrap();
        assert!(made.success());
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        assert_eq!(rpm(&machine).await, []);
        assert!(DATABASES.into_iter().any(|place| machine.has(&format!("{place}/rpmdb.sqlite"))));
    }
}
