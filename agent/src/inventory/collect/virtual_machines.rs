// SPDX-License-Identifier: Apache-2.0
//! Machines and containers that this machine runs: those of libvirt, and those that are registered with systemd.
//!
//! From the files in which both keep them, so that no daemon is asked or even started for an inventory.

use std::collections::BTreeMap;

use protocol::inventory::hardware::VirtualMachine;
use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};
use uuid::Uuid;

use super::{super::machine::Machine, said};

/// Drivers of libvirt that keep domains in files: each has a directory of this name.
const DRIVERS: [&str; 2] = ["lxc", "qemu"];

/// Deepest nesting in a file of libvirt.
const MAX_DEPTH: usize = 64;

/// `VIRTUALMACHINES`.
pub fn virtual_machines(machine: &Machine<'_>) -> Vec<VirtualMachine> {
    let mut found = libvirt(machine);
    found.extend(registered(machine));
    found
}

/// Domains of libvirt: what is defined, and over it what runs, which may be defined nowhere.
fn libvirt(machine: &Machine<'_>) -> Vec<VirtualMachine> {
    let mut domains = BTreeMap::new();
    for driver in DRIVERS {
        for directory in [format!("etc/libvirt/{driver}"), format!("run/libvirt/{driver}")] {
            let names = machine.names(&directory);
            for name in names.iter().filter(|name| name.ends_with(".xml")) {
                let domain = machine.text(format!("{directory}/{name}")).as_deref().and_then(domain);
                if let Some(domain) = domain {
                    domains.insert((driver, domain.name.clone()), domain);
                }
            }
        }
    }
    domains.into_values().collect()
}

/// One domain: `domain` as it is defined, or `domstatus` with its `domain` as it runs. See
/// <https://libvirt.org/formatdomain.html>.
fn domain(document: &str) -> Option<VirtualMachine> {
    let mut reader = Reader::from_str(document);
    let mut machine =
        VirtualMachine { kind: said("libvirt"), status: said("off"), ..VirtualMachine::default() };
    let (mut path, mut text, mut unit, mut is_domain) = (vec![], String::new(), None, false);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let attribute = |name: &str| {
                    let attribute = tag.try_get_attribute(name).ok()??;
                    Some(attribute.value.into_owned())
                };
                match tag.name().as_ref() {
                    "domstatus" if path.is_empty() => {
                        machine.status = attribute("state").as_deref().map(status).and_then(said);
                    }
                    "domain" if path.is_empty() || path == ["domstatus"] => {
                        is_domain = true;
                        machine.subsystem = attribute("type");
                    }
                    "memory" => unit = attribute("unit"),
                    _ => {}
                }
                text.clear();
                path.push(tag.name().as_ref().to_owned());
                if path.len() > MAX_DEPTH {
                    return None;
                }
            }
            Event::End(_) => {
                let name = path.pop()?;
                let words = std::mem::take(&mut text);
                // Only what stands in the domain itself, not in what is in it.
                if path.len() > 2 || path.last().is_none_or(|above| above != "domain") {
                    continue;
                }
                match name.as_str() {
                    "name" => machine.name = said(words),
                    "uuid" => machine.uuid = said(words),
                    "memory" => machine.memory = mebibytes(words.trim(), unit.as_deref()),
                    "vcpu" => machine.processors = words.trim().parse().ok(),
                    _ => {}
                }
            }
            Event::Text(words) => text.push_str(&words),
            // Numbers of characters stand in descriptions, which are not told.
            Event::GeneralRef(entity) => text.push_str(resolve_xml_entity(&entity).unwrap_or("?")),
            Event::Eof => break,
            _ => {}
        }
    }
    (is_domain && path.is_empty() && machine.name.is_some()).then_some(machine)
}

/// A state of libvirt in the words of inventories.
fn status(state: &str) -> &str {
    match state {
        "shutoff" => "off",
        "pmsuspended" => "paused",
        other => other,
    }
}

/// A size in MiB.
fn mebibytes(number: &str, unit: Option<&str>) -> Option<u64> {
    let bytes_each: u64 = match unit.unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()?.checked_mul(bytes_each)? >> 20)
}

/// Machines that are registered with systemd-machined and run, but for those of libvirt. See `machinectl`(1).
fn registered(machine: &Machine<'_>) -> Vec<VirtualMachine> {
    const DIRECTORY: &str = "run/systemd/machines";
    let names = machine.names(DIRECTORY);
    // Beside each there is a link by the name of its unit.
    let names = names.iter().filter(|name| !name.starts_with("unit:"));
    let read = |name: &String| {
        let text = machine.text(format!("{DIRECTORY}/{name}"))?;
        let fields: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let service = fields.get("SERVICE").copied().unwrap_or_default();
        // The class of the machine itself, which is listed as well, is `host`.
        if !matches!(fields.get("CLASS"), Some(&("vm" | "container"))) || service.starts_with("libvirt") {
            return None;
        }
        Some(VirtualMachine {
            kind: said(service),
            name: fields.get("NAME").and_then(said),
            status: said("running"),
            subsystem: fields.get("CLASS").and_then(said),
            uuid: fields.get("ID").and_then(|id| Some(Uuid::parse_str(id).ok()?.to_string())),
            ..VirtualMachine::default()
        })
    };
    names.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::*;

    const DEFINED: &str = "<!-- made by hand --><domain type='kvm'><name>web</name>\
        <uuid>0f8a3c0e-0000-4000-8000-000000000001</uuid><memory unit='KiB'>2097152</memory>\
        <vcpu placement='static'>2</vcpu><devices><disk><name>inner</name></disk></devices></domain>";

    fn machines(files: &[(&str, &str)]) -> Vec<VirtualMachine> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        virtual_machines(&Machine::new(root.path(), &CancellationToken::new()))
    }

    #[test]
    fn what_runs_is_told_instead_of_what_is_defined() {
        let running = format!("<domstatus state='running' pid='7'><lock/>{DEFINED}</domstatus>")
            .replace("<!-- made by hand -->", "")
            .replace(">2<", ">4<");
        let off = DEFINED.replace("web", "R&amp;D").replace("unit='KiB'>2097152", "unit='GiB'>1");
        let found = machines(&[
            ("etc/libvirt/qemu/web.xml", DEFINED),
            ("etc/libvirt/qemu/R&D.xml", &off),
            ("etc/libvirt/qemu/torn.xml", &DEFINED.replace("web", "torn")[..150]),
            ("etc/libvirt/qemu/networks/default.xml", "<network><name>default</name></network>"),
            ("etc/libvirt/qemu/other.xml", "<network><name>default</name></network>"),
            ("run/libvirt/qemu/web.xml", &running),
        ]);
        let [spare, web] = &found[..] else { panic!("{found:?}") };
        let expected = VirtualMachine {
            kind: said("libvirt"),
            memory: Some(2048),
            name: said("web"),
            owner: None,
            processors: Some(4),
            status: said("running"),
            subsystem: said("kvm"),
            uuid: said("0f8a3c0e-0000-4000-8000-000000000001"),
        };
        assert_eq!(*web, expected);
        assert_eq!(
            (spare.status.as_deref(), spare.memory, spare.processors),
            (Some("off"), Some(1024), Some(2))
        );
    }

    #[test]
    fn registered_machines_are_told_once() {
        let of = |name: &str, class: &str, service: &str| {
            format!(
                "# private\nNAME={name}\nSERVICE={service}\nCLASS={class}\nID=0f8a3c0e000040008000000000000001\n"
            )
        };
        let nspawn = of("build", "container", "systemd-nspawn");
        let found = machines(&[
            ("run/systemd/machines/build", &nspawn),
            ("run/systemd/machines/unit:machine-build.scope", &nspawn),
            ("run/systemd/machines/qemu-1-web", &of("qemu-1-web", "vm", "libvirt-qemu")),
            ("run/systemd/machines/host", &of(".host", "host", "")),
        ]);
        let [build] = &found[..] else { panic!("{found:?}") };
        assert_eq!((build.name.as_deref(), build.kind.as_deref()), (Some("build"), Some("systemd-nspawn")));
        assert_eq!(build.uuid.as_deref(), Some("0f8a3c0e-0000-4000-8000-000000000001"));
    }

    #[test]
    fn endless_nesting_is_given_up() {
        assert_eq!(domain(&"<domain>".repeat(100_000)), None);
    }
}
