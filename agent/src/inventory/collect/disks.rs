// SPDX-License-Identifier: Apache-2.0
//! Disks, and the file systems that are mounted.

use std::{collections::BTreeMap, fs};

use protocol::inventory::hardware::{Drive, Storage};
use rustix::fs::statvfs;

use super::super::machine::Machine;

/// `STORAGES`: disks and drives for other media, not what is made of them.
pub fn disks(machine: &Machine<'_>) -> Vec<Storage> {
    let made_up = ["loop", "ram", "zram", "dm-", "md", "nbd", "fd"];
    let names = machine.names("sys/block").into_iter();
    names
        .filter(|name| !made_up.iter().any(|kind| name.starts_with(kind)))
        .map(|name| disk(machine, name))
        .collect()
}

fn disk(machine: &Machine<'_>, name: String) -> Storage {
    let get = |file: &str| machine.line(format!("sys/block/{name}/{file}"));
    // Of 512 bytes each, whatever the device has.
    let sectors: Option<u64> = machine.number(format!("sys/block/{name}/size"));
    let target = fs::read_link(machine.path(&format!("sys/block/{name}"))).unwrap_or_default();
    let target = target.to_string_lossy();
    let buses = [
        ("/usb", "USB"),
        ("/ata", "SATA"),
        ("/nvme", "NVMe"),
        ("/virtio", "Virtio"),
        ("/mmc", "MMC"),
        ("/host", "SCSI"),
    ];
    let bus = buses.iter().find(|(part, _)| target.contains(part)).map(|(_, bus)| (*bus).to_owned());
    let kind = match () {
        () if name.starts_with("sr") => "cd",
        () if get("removable").as_deref() == Some("1") => "removable",
        () => "disk",
    };
    Storage {
        description: bus.clone(),
        size: sectors.map(|sectors| sectors.saturating_mul(512) / 1_000_000).filter(|size| *size > 0),
        firmware: get("device/rev").or_else(|| get("device/firmware_rev")),
        interface: bus,
        manufacturer: get("device/vendor").filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x")),
        model: get("device/model"),
        serial: get("device/serial").or_else(|| get("serial")),
        kind: Some(kind.to_owned()),
        name: Some(name),
    }
}

/// `DRIVES`: file systems on devices, each once, however often it is mounted; and those of other machines.
pub fn file_systems(machine: &Machine<'_>) -> Vec<Drive> {
    let text = machine.text("proc/self/mounts").unwrap_or_default();
    let on_devices = on_devices(machine);
    let ids = identifiers(machine);
    let mut found: BTreeMap<String, Drive> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ').map(unescaped);
        let (Some(device), Some(place), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let is_remote = ["nfs", "nfs4", "cifs", "ceph", "glusterfs", "smb3", "vboxsf"].contains(&&*kind);
        let is_local = on_devices.contains(&kind) || kind == "zfs";
        if !(is_local || is_remote) || device.starts_with("/dev/loop") {
            continue;
        }
        // Another machine may not answer, and then neither does this call.
        let sizes = if is_local && machine.is_this() { sizes(&place) } else { None };
        let drive = Drive {
            filesystem: Some(kind),
            free: sizes.map(|(_, free)| free),
            serial: fs::canonicalize(machine.path(device.trim_start_matches('/')))
                .ok()
                .and_then(|device| ids.get(device.file_name()?.to_str()?).cloned()),
            total: sizes.map(|(total, _)| total),
            mounted_on: Some(place.clone()),
            volume: Some(device.clone()),
            ..Drive::default()
        };
        let shorter =
            |there: &Drive| there.mounted_on.as_ref().is_some_and(|other| other.len() <= place.len());
        if !found.get(&device).is_some_and(shorter) {
            found.insert(device, drive);
        }
    }
    let mut all: Vec<_> = found.into_values().collect();
    all.sort_by(|a, b| a.mounted_on.cmp(&b.mounted_on));
    all
}

/// Total and free, in MB.
fn sizes(place: &str) -> Option<(u64, u64)> {
    let facts = statvfs(place).ok()?;
    let megabytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize) / (1 << 20);
    Some((megabytes(facts.f_blocks), megabytes(facts.f_bavail)))
}

/// Kinds of file systems that are on devices, as the kernel says.
fn on_devices(machine: &Machine<'_>) -> Vec<String> {
    let text = machine.text("proc/filesystems").unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix('\t')).map(str::to_owned).collect()
}

/// UUIDs of file systems, by the name of their device.
fn identifiers(machine: &Machine<'_>) -> BTreeMap<String, String> {
    let directory = "dev/disk/by-uuid";
    let names = machine.names(directory).into_iter();
    names.filter_map(|uuid| Some((machine.link(format!("{directory}/{uuid}"))?, uuid))).collect()
}

/// Blanks in this file are octal (fstab(5)).
fn unescaped(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(byte.into());
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn each_device_is_there_once_and_made_up_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/filesystems", "nodev\tproc\nnodev\ttmpfs\n\text4\n");
        write(
            "proc/self/mounts",
            "/dev/sda1 /var/lib/docker ext4 rw 0 0\n/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n\
             /dev/loop1 /snap/x ext4 ro 0 0\nfiles:/home /my\\040home nfs4 rw 0 0\nbroken\n",
        );
        write("sys/block/sda/size", "41943040\n");
        write("sys/block/sda/device/model", "QEMU HARDDISK   \n");
        write("sys/block/loop0/size", "1\n");
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        let places: Vec<_> =
            file_systems(&machine).into_iter().map(|drive| drive.mounted_on.unwrap()).collect();
        assert_eq!(places, ["/", "/my home"]);
        let disks = disks(&machine);
        assert_eq!(
            (disks.len(), disks[0].size, disks[0].model.as_deref()),
            (1, Some(21474), Some("QEMU HARDDISK"))
        );
    }
}
