// SPDX-License-Identifier: Apache-2.0
//! Updates that the package manager knows of without asking over the network (`SOFTWAREUPDATES`).

use std::time::Duration;

use protocol::inventory::software::SoftwareUpdate;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    super::{machine::Machine, signs},
    said,
};
use crate::state::State;

/// How long a package manager may take to think.
const LIMIT: Duration = Duration::from_secs(120);

/// What package managers said last. They take seconds to think, so they are only asked again when something has changed
/// that they think about.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Said {
    signs: String,
    updates: Vec<SoftwareUpdate>,
}

const FILE: &str = "inventory-updates.json";

/// All of them, by name.
pub async fn updates(machine: &Machine<'_>, state: &State) -> Vec<SoftwareUpdate> {
    // These tools tell of the machine that they run on, and of no other.
    if !machine.is_this() {
        return vec![];
    }
    let signs = signs::of_updates(&machine.path(""));
    let before: Said = state.read(FILE);
    if before.signs == signs {
        return before.updates;
    }
    let Some(updates) = ask(machine).await else { return before.updates };
    let said = Said { signs, updates };
    if let Err(e) = state.write(FILE, &said) {
        warn!("{}: {e}", state.path(FILE).display());
    }
    said.updates
}

/// `None` when one that is there does not answer.
async fn ask(machine: &Machine<'_>) -> Option<Vec<SoftwareUpdate>> {
    let mut all = apt(machine).await?;
    if all.is_empty() {
        all = dnf(machine).await?;
    }
    all.sort_by(|a, b| (&a.name, &a.arch, &a.version).cmp(&(&b.name, &b.arch, &b.version)));
    Some(all)
}

async fn apt(machine: &Machine<'_>) -> Option<Vec<SoftwareUpdate>> {
    if !machine.has("var/lib/dpkg/status") || !machine.has("var/lib/apt/lists") {
        return Some(vec![]);
    }
    // Nothing is locked or fetched; a simulation says what it would do.
    let command = ["apt-get", "--simulate", "-o", "Debug::NoLocking=true", "dist-upgrade"];
    let lines = machine.tool(&command, LIMIT, &[0]).await?;
    Some(lines.iter().filter_map(|line| of_apt(line)).collect())
}

/// `Inst NAME [OLD] (NEW SOURCE, SOURCE [ARCH])`; without what is there now, it is no update.
fn of_apt(line: &str) -> Option<SoftwareUpdate> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(' ')?;
    let rest = rest.strip_prefix('[')?;
    let (_, rest) = rest.split_once("] (")?;
    let (inner, _) = rest.split_once(')')?;
    let (version, sources) = inner.split_once(' ')?;
    let (sources, arch) = sources.rsplit_once(" [")?;
    let is_security = sources.to_lowercase().contains("security");
    Some(SoftwareUpdate {
        arch: said(arch.trim_end_matches(']')),
        from: said("apt-get"),
        kind: said(if is_security { "security" } else { "none" }),
        name: said(name),
        source: said(sources),
        version: said(version),
        ..SoftwareUpdate::default()
    })
}

async fn dnf(machine: &Machine<'_>) -> Option<Vec<SoftwareUpdate>> {
    let Some(program) = ["dnf", "yum"].into_iter().find(|name| machine.has(&format!("usr/bin/{name}")))
    else {
        return Some(vec![]);
    };
    // 100: there are some. Only what was fetched before is looked at.
    let lines = machine.tool(&[program, "--cacheonly", "--quiet", "check-update"], LIMIT, &[0, 100]).await?;
    // What follows would be put away; its lines look the same.
    let listed = lines.iter().take_while(|line| !line.starts_with("Obsoleting"));
    Some(listed.filter_map(|line| of_dnf(line)).collect())
}

/// `NAME.ARCH  VERSION  SOURCE`
fn of_dnf(line: &str) -> Option<SoftwareUpdate> {
    let [name, version, source] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let (name, arch) = name.rsplit_once('.')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| SoftwareUpdate {
        arch: said(arch),
        from: said("yum"),
        name: said(name),
        source: said(source),
        version: said(version),
        ..SoftwareUpdate::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(update: Option<SoftwareUpdate>) -> Option<[String; 5]> {
        let SoftwareUpdate { name, version, arch, source, kind, .. } = update?;
        Some([name, version, arch, source, kind].map(|text| text.unwrap_or_else(|| "-".to_owned())))
    }

    #[test]
    fn what_apt_would_do_is_read() {
        let line = "Inst bash [5.2.15-2+b2] (5.2.15-2+b8 Debian:12.11/stable, Debian-Security:12/stable-security [amd64]) []";
        let expected = [
            "bash",
            "5.2.15-2+b8",
            "amd64",
            "Debian:12.11/stable, Debian-Security:12/stable-security",
            "security",
        ];
        assert_eq!(read(of_apt(line)).unwrap(), expected);
        let line = "Inst base-files [12.4] (12.4+deb12u11 Debian:12.11/stable [amd64])";
        assert_eq!(read(of_apt(line)).unwrap()[4], "none");
        for other in
            ["Inst new (1 Debian [all])", "Conf bash (5.2 Debian [amd64])", "Inst a [1] (2", "", "Inst"]
        {
            assert_eq!(of_apt(other), None, "{other}");
        }
    }

    #[test]
    fn what_dnf_lists_is_read() {
        let line = "NetworkManager.x86_64        1:1.40.16-11.el8       baseos";
        assert_eq!(
            read(of_dnf(line)).unwrap(),
            ["NetworkManager", "1:1.40.16-11.el8", "x86_64", "baseos", "-"]
        );
        for other in ["", "Last metadata expiration check: today", "Security: kernel is", "a b c"] {
            assert_eq!(of_dnf(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn package_managers_are_not_asked_again_for_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let machine = Machine::new(std::path::Path::new("/"), &stop);
        let kept = SoftwareUpdate { name: said("kept"), ..SoftwareUpdate::default() };
        let signs = signs::of_updates(std::path::Path::new("/"));
        state.write(FILE, &Said { signs, updates: vec![kept.clone()] }).unwrap();
        assert_eq!(updates(&machine, &state).await, [kept]);
    }
}
