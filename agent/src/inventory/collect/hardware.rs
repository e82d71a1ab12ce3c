// SPDX-License-Identifier: Apache-2.0
//! Processors, and the machine in a few words.

use std::collections::{BTreeMap, BTreeSet};

use protocol::inventory::{
    hardware::{Cpu, Hardware},
    system::OperatingSystem,
};
use rustix::system::uname;

use super::{super::machine::Machine, network::Networks, said};

/// `CPUS`: one for each socket.
pub fn processors(machine: &Machine<'_>) -> Vec<Cpu> {
    let text = machine.text("proc/cpuinfo").unwrap_or_default();
    let mut sockets: BTreeMap<u64, Vec<BTreeMap<&str, &str>>> = BTreeMap::new();
    for block in text.split("\n\n") {
        let facts: BTreeMap<_, _> = block
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        if facts.contains_key("processor") {
            let socket = facts.get("physical id").and_then(|id| id.parse().ok()).unwrap_or(0);
            sockets.entry(socket).or_default().push(facts);
        }
    }
    let fastest = machine.number::<u64>("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    sockets.values().filter_map(|threads| processor(threads, fastest.map(|khz| khz / 1000))).collect()
}

fn processor(threads: &[BTreeMap<&str, &str>], speed: Option<u64>) -> Option<Cpu> {
    let first = threads.first()?;
    let get = |names: &[&str]| names.iter().find_map(|name| said(first.get(name)?));
    let cores: BTreeSet<_> = threads.iter().filter_map(|thread| thread.get("core id")).collect();
    let cores = if cores.is_empty() { threads.len() } else { cores.len() } as u64;
    let maker = get(&["vendor_id", "CPU implementer"]).map(|maker| match &*maker {
        "GenuineIntel" => "Intel".to_owned(),
        "AuthenticAMD" => "AMD".to_owned(),
        "0x41" => "ARM".to_owned(),
        _ => maker,
    });
    Some(Cpu {
        arch: said(uname().machine().to_string_lossy()),
        cores: Some(cores),
        family: get(&["cpu family", "CPU architecture"]),
        manufacturer: maker,
        model: get(&["model", "CPU part"]),
        name: get(&["model name", "cpu model", "cpu"]),
        speed,
        stepping: get(&["stepping", "CPU revision"]),
        // Of each core, as existing agents have it.
        threads: Some(threads.len() as u64 / cores.max(1)),
        ..Cpu::default()
    })
}

/// `HARDWARE`.
pub fn summary(machine: &Machine<'_>, system: &OperatingSystem, networks: &Networks) -> Hardware {
    let processors = processors(machine);
    let fqdn = system.fqdn.as_deref().unwrap_or_default();
    let memory = |name| memory(machine, name);
    Hardware {
        chassis: machine.line("sys/class/dmi/id/chassis_type").and_then(|kind| chassis(&kind)),
        gateway: networks.gateway.clone(),
        name_servers: name_servers(machine),
        addresses: said(networks.addresses.join("/")),
        memory: memory("MemTotal"),
        name: fqdn.split('.').next().and_then(said),
        os_comments: said(uname().version().to_string_lossy()),
        os_name: system.full_name.clone(),
        os_version: system.kernel_version.clone(),
        processors: Some(processors.len() as u64).filter(|count| *count > 0),
        processor_speed: processors.first().and_then(|one| one.speed),
        processor: processors.first().and_then(|one| one.name.clone()),
        swap: memory("SwapTotal").filter(|swap| *swap > 0),
        uuid: machine.line("sys/class/dmi/id/product_uuid").map(|uuid| uuid.to_lowercase()),
        virtual_machine: said(hypervisor(machine)),
        ..Hardware::default()
    }
}

/// In MB.
fn memory(machine: &Machine<'_>, name: &str) -> Option<u64> {
    let text = machine.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn name_servers(machine: &Machine<'_>) -> Option<String> {
    let text = machine.text("etc/resolv.conf")?;
    let mut all: Vec<_> = text.lines().filter_map(|line| said(line.strip_prefix("nameserver ")?)).collect();
    all.sort();
    all.dedup();
    said(all.join("/"))
}

/// The number of a housing in words (SMBIOS 7.4.1).
fn chassis(kind: &str) -> Option<String> {
    let word = match kind.parse::<u8>().ok()? & 0x7F {
        1 => "Other",
        3 | 4 | 6 | 7 | 13 | 15 | 24 | 35 | 36 => "Desktop",
        8..=10 | 14 | 31 | 32 => "Laptop",
        11 | 30 => "Hand Held",
        17 | 23 => "Rack Mount Chassis",
        28 | 29 => "Blade",
        _ => return None,
    };
    Some(word.to_owned())
}

/// What the machine runs in, as existing servers call it.
fn hypervisor(machine: &Machine<'_>) -> &'static str {
    if machine.has("run/systemd/container") || machine.has(".dockerenv") || machine.has("run/.containerenv") {
        return "LXC";
    }
    let line = |name: &str| machine.line(format!("sys/class/dmi/id/{name}")).unwrap_or_default();
    let words = format!("{} {} {}", line("sys_vendor"), line("product_name"), line("bios_vendor"));
    let known = [
        ("QEMU", "QEMU"),
        ("KVM", "QEMU"),
        ("Google Compute Engine", "QEMU"),
        ("Amazon EC2", "QEMU"),
        ("OpenStack", "QEMU"),
        ("VMware", "VMware"),
        ("VirtualBox", "VirtualBox"),
        ("innotek", "VirtualBox"),
        ("Microsoft Corporation Virtual", "Hyper-V"),
        ("Xen", "Xen"),
        ("BHYVE", "BHyVe"),
    ];
    if let Some((_, name)) = known.iter().find(|(part, _)| words.contains(part)) {
        return name;
    }
    let flags = machine.text("proc/cpuinfo").unwrap_or_default();
    let is_guest = flags
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.ends_with(" hypervisor") || line.contains(" hypervisor "));
    if is_guest { "Virtual Machine" } else { "Physical" }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn a_socket_is_one_processor() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        let thread = |number: u32, socket: u32, core: u32| {
            format!(
                "processor\t: {number}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 68\nmodel name\t: Ryzen\n\
                 physical id\t: {socket}\ncore id\t\t: {core}\nflags\t\t: fpu hypervisor lm\n\n"
            )
        };
        let text: String = (0..8).map(|n| thread(n, n / 4, n % 2)).collect();
        fs::write(root.path().join("proc/cpuinfo"), text).unwrap();
        fs::write(root.path().join("proc/meminfo"), "MemTotal:        2097152 kB\nSwapTotal: 0 kB\n")
            .unwrap();
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        let all = processors(&machine);
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].cores, all[0].threads, all[0].manufacturer.as_deref()),
            (Some(2), Some(2), Some("AMD"))
        );
        let system = OperatingSystem { fqdn: said("a.example.com"), ..OperatingSystem::default() };
        let hardware = summary(&machine, &system, &Networks::default());
        assert_eq!((hardware.memory, hardware.swap, hardware.processors), (Some(2048), None, Some(2)));
        assert_eq!(
            (hardware.name.as_deref(), hardware.virtual_machine.as_deref()),
            (Some("a"), Some("Virtual Machine"))
        );
    }
}
