// SPDX-License-Identifier: Apache-2.0
//! Devices on the PCI bus, and among them graphics and sound.

use std::collections::BTreeMap;

use protocol::inventory::hardware::{Controller, Sound, Video};

use super::super::machine::Machine;

/// What is on the bus.
#[derive(Debug, Default)]
pub struct Devices {
    /// `CONTROLLERS`: all of them.
    pub controllers: Vec<Controller>,
    /// `SOUNDS`.
    pub sounds: Vec<Sound>,
    /// `VIDEOS`.
    pub videos: Vec<Video>,
}

/// Reads what the kernel knows of them, and their names where the list of names is installed.
pub fn read(machine: &Machine<'_>) -> Devices {
    const DIRECTORY: &str = "sys/bus/pci/devices";
    let places = machine.names(DIRECTORY);
    if places.is_empty() {
        return Devices::default();
    }
    let lists = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
    let list = lists.iter().find_map(|list| machine.text(list)).unwrap_or_default();
    let names = Names::read(&list);
    let mut devices = Devices::default();
    for place in places {
        let digits = |file: &str| {
            let line = machine.line(format!("{DIRECTORY}/{place}/{file}"))?;
            Some(line.trim_start_matches("0x").to_lowercase())
        };
        let (Some(class), Some(vendor), Some(device)) = (digits("class"), digits("vendor"), digits("device"))
        else {
            continue;
        };
        let class: String = class.chars().take(4).collect();
        let card = digits("subsystem_vendor").zip(digits("subsystem_device"));
        let name = names.device(&vendor, &device);
        let maker = names.vendor(&vendor);
        let kind = names.class(&class);
        let revision = digits("revision").filter(|revision| revision != "00");
        if class.starts_with("03") {
            devices.videos.push(Video { chipset: kind.clone(), name: name.clone(), ..Video::default() });
        } else if ["0401", "0403"].contains(&&*class) {
            let description = revision.as_ref().map(|revision| format!("rev {revision}"));
            devices.sounds.push(Sound { description, manufacturer: maker.clone(), name: name.clone() });
        }
        devices.controllers.push(Controller {
            caption: name.clone(),
            driver: machine.link(format!("{DIRECTORY}/{place}/driver")),
            manufacturer: maker,
            name,
            class: Some(class),
            // The domain is left out where it is the first, as by lspci.
            slot: Some(place.strip_prefix("0000:").unwrap_or(&place).to_owned()),
            subsystem: card
                .filter(|(vendor, _)| vendor != "0000")
                .map(|(vendor, card)| format!("{vendor}:{card}")),
            product_id: Some(device),
            revision,
            kind,
            vendor_id: Some(vendor),
        });
    }
    devices
}

/// Names by numbers, from pci.ids.
#[derive(Debug, Default)]
struct Names<'t> {
    vendors: BTreeMap<&'t str, &'t str>,
    devices: BTreeMap<(&'t str, &'t str), &'t str>,
    classes: BTreeMap<String, &'t str>,
}

impl<'t> Names<'t> {
    /// `vendor  name`, then a tab and `device  name` for each; `C class  name`, then a tab and `subclass  name`.
    fn read(text: &'t str) -> Self {
        let mut names = Self::default();
        let (mut above, mut is_class) = ("", false);
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("\t\t")) {
            let Some((number, name)) = line.trim_start().split_once("  ") else { continue };
            match line.starts_with('\t') {
                false => {
                    is_class = number.starts_with("C ");
                    above = number.trim_start_matches("C ");
                    if !is_class {
                        names.vendors.insert(above, name);
                    }
                }
                true if is_class => {
                    names.classes.insert(format!("{above}{number}"), name);
                }
                true => {
                    names.devices.insert((above, number), name);
                }
            }
        }
        names
    }

    fn vendor(&self, vendor: &str) -> Option<String> {
        self.vendors.get(vendor).map(|name| (*name).to_owned())
    }

    fn device(&self, vendor: &str, device: &str) -> Option<String> {
        self.devices.get(&(vendor, device)).map(|name| (*name).to_owned())
    }

    fn class(&self, class: &str) -> Option<String> {
        self.classes.get(class).map(|name| (*name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::*;

    const LIST: &str = "# comment\n8086  Intel Corporation\n\t100e  82540EM Gigabit Ethernet Controller\n\
                        \t\t8086 001e  PRO/1000 MT Desktop Adapter\n1234  Other\n\t1111  VGA\n\
                        C 02  Network controller\n\t00  Ethernet controller\nC 03  Display controller\n\t00  VGA compatible controller\n";

    #[test]
    fn devices_have_the_names_of_the_list() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/share/misc/pci.ids", LIST);
        for (place, class, vendor, device) in [
            ("0000:00:03.0", "0x020000", "0x8086", "0x100e"),
            ("0001:00:02.0", "0x030000", "0x1234", "0x9999"),
        ] {
            for (file, text) in
                [("class", class), ("vendor", vendor), ("device", device), ("revision", "0x02")]
            {
                write(&format!("sys/bus/pci/devices/{place}/{file}"), &format!("{text}\n"));
            }
        }
        let stop = CancellationToken::new();
        let devices = read(&Machine::new(root.path(), &stop));
        let [network, graphics] = &devices.controllers[..] else { panic!("{devices:?}") };
        assert_eq!(network.name.as_deref(), Some("82540EM Gigabit Ethernet Controller"));
        assert_eq!(
            (network.slot.as_deref(), network.kind.as_deref()),
            (Some("00:03.0"), Some("Ethernet controller"))
        );
        assert_eq!((graphics.name.as_deref(), graphics.slot.as_deref()), (None, Some("0001:00:02.0")));
        assert_eq!(devices.videos[0].chipset.as_deref(), Some("VGA compatible controller"));
        assert_eq!(devices.sounds.len(), 0);
    }
}
