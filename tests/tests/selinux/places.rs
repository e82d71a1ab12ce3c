// SPDX-License-Identifier: Apache-2.0
//! Types of places: those of the settings by default, of the units, and of existing installations.

use std::{collections::BTreeSet, fs, process::Command};

use tests::{Result, programs};

use crate::{
    MANAGE_NODES, packaging,
    policy::{policy, run},
};

/// What the daemon does with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Manage,
    /// Reads, and writes where it keeps the node list itself.
    ManageNodes,
    Read,
    /// Left to commands of an operator.
    Nothing,
}

/// What the daemon does with the place of each setting. The places themselves are the program's.
const USES: [(&str, Use); 17] = [
    ("general.nodes_list_file", Use::ManageNodes),
    ("general.nodes_certs_file", Use::ManageNodes),
    ("general.node_id_file", Use::Read),
    ("ca.directory", Use::Read),
    ("processing.inventory.directory", Use::Manage),
    ("processing.reporting.directory", Use::Manage),
    ("output.upstream.server_certificate_file", Use::Read),
    ("gateway.certificate", Use::Read),
    ("gateway.key", Use::Read),
    ("policies.directory", Use::Read),
    ("policies.published", Use::Read),
    ("policies.key_directory", Use::Nothing),
    ("policies.groups", Use::Nothing),
    ("policies.archives", Use::Manage),
    ("policies.cache.directory", Use::Manage),
    ("shared_files.path", Use::Manage),
    ("shared_folder.path", Use::Read),
];

/// Settings that are paths, with their defaults, as the program tells them.
fn places(reference: &str) -> Vec<(String, String)> {
    let (mut section, mut places) = (String::new(), Vec::new());
    for line in reference.lines() {
        if let Some(name) = line.strip_prefix("### `[") {
            section = name.trim_end_matches("]`").to_owned();
        }
        let cells: Vec<_> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        let [key, kind, default, meaning, ..] = cells[..] else { continue };
        let default = default.trim_matches('"');
        if kind.starts_with("a path") && default.starts_with('/') {
            places.push((format!("{section}.{key}"), default.to_owned()));
        }
        let words = meaning.split([' ', ';', ',']).map(|word| word.trim_end_matches('.'));
        places.extend(
            words.filter(|word| word.ends_with(".db")).map(|word| (section.clone(), word.to_owned())),
        );
    }
    places
}

#[test]
fn file_contexts_fit_the_defaults_of_the_settings() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    let relayd = programs::find("relayd")?;
    let reference = run(Command::new(&relayd).args(["config", "reference"]))?;
    let mut places = places(&reference);
    let at =
        places.iter().position(|(section, _)| section == "output.database").ok_or("no embedded database")?;
    let database = places.remove(at).1;
    let known: BTreeSet<_> = USES.map(|(setting, _)| setting).into();
    let there: BTreeSet<_> = places.iter().map(|(setting, _)| setting.as_str()).collect();
    assert_eq!(there, known, "a place is new, or gone: say in USES what the daemon does with it");

    let is_read = |name: &str| policy.targets("file", &["open", "read"], None).contains(name);
    let is_managed = |name: &str, boolean| {
        ["create", "write", "unlink", "rename"]
            .iter()
            .all(|p| policy.targets("file", &[p], boolean).contains(name))
    };
    let check = |place: &str, purpose: Use| -> Result<()> {
        // A trailing slash is not part of a name.
        for path in [place.trim_end_matches('/').to_owned(), format!("{}/below", place.trim_end_matches('/'))]
        {
            let name = policy.type_of(&path)?;
            let fits = match purpose {
                Use::Manage => is_managed(&name, None),
                Use::ManageNodes => {
                    is_read(&name) && is_managed(&name, Some(MANAGE_NODES)) && !is_managed(&name, None)
                }
                Use::Read => {
                    is_read(&name) && !is_managed(&name, None) && !is_managed(&name, Some(MANAGE_NODES))
                }
                Use::Nothing => !is_managed(&name, None),
            };
            // The certificate of the upstream lies with what the daemon may have to write.
            let excused = purpose == Use::Read && name == "rudder_relayd_var_lib_t" && is_read(&name);
            assert!(fits || excused, "{purpose:?} of {path}, which is {name}");
            // Files have nothing below them.
            if path.rsplit('/').next().is_some_and(|name| name.contains('.')) || place.ends_with(".priv") {
                break;
            }
        }
        Ok(())
    };
    check(&database, Use::Manage)?;
    for (setting, place) in &places {
        let purpose = USES.iter().find(|(known, _)| known == setting).map(|(_, purpose)| *purpose);
        check(place, purpose.ok_or("not in USES")?)?;
    }

    // The configuration directory, and what the unit lets it write.
    let help = run(Command::new(&relayd).arg("--help"))?;
    let etc = help.split("[default:").nth(1).and_then(|rest| rest.split(']').next()).ok_or("no default")?;
    assert_eq!(policy.type_of(&format!("{}/main.conf", etc.trim()))?, "rudder_relayd_etc_t");
    let unit = fs::read_to_string(packaging().join("systemd/rudder-relayd.service"))?;
    let paths: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ReadWritePaths=-")).collect();
    assert!(paths.len() >= 5, "{unit}");
    for path in paths {
        let name = policy.type_of(path)?;
        assert!(is_managed(&name, None) || is_managed(&name, Some(MANAGE_NODES)), "{path}, which is {name}");
    }
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).ok_or("no program")?;
    assert_eq!(policy.type_of(program)?, "rudder_relayd_exec_t");
    let runtime =
        unit.lines().find_map(|line| line.strip_prefix("RuntimeDirectory=")).ok_or("no directory")?;
    assert_eq!(policy.type_of(&format!("/run/{runtime}/api.sock"))?, "rudder_relayd_runtime_t");
    Ok(())
}

/// The table of protocol 10.4, in which others rely on these names.
#[test]
fn file_contexts_are_those_of_existing_installations() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    let protocol = fs::read_to_string(packaging().parent().ok_or("no parent")?.join("docs/protocol.md"))?;
    let section =
        protocol.split("### 10.4 ").nth(1).and_then(|rest| rest.split("### 10.5").next()).ok_or("no 10.4")?;
    let mut checked = 0;
    for line in section.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [paths, expected] = cells[..] else { panic!("{line}") };
        for path in paths.split(", ").map(|path| path.trim_matches('`')) {
            assert_eq!(policy.type_of(path)?, expected.trim_matches('`'), "{path}");
            checked += 1;
        }
    }
    assert!(checked >= 11, "{checked}");
    Ok(())
}
