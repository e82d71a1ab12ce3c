// SPDX-License-Identifier: Apache-2.0
//! What the firmware says of the machine: SMBIOS, as the kernel gives it.
//!
//! The tables are read here, a few bytes each: the crate that was tried ends with a panic on tables that are cut.

use protocol::inventory::hardware::{Bios, Memory, Port, Slot};

use super::{super::machine::Machine, said};

/// `BIOS`: what the kernel has read already. Serial numbers are for root alone.
pub fn bios(machine: &Machine<'_>) -> Option<Bios> {
    let get = |name: &str| machine.line(format!("sys/class/dmi/id/{name}"));
    let bios = Bios {
        asset_tag: get("chassis_asset_tag"),
        firmware_date: get("bios_date"),
        firmware_manufacturer: get("bios_vendor"),
        firmware_version: get("bios_version"),
        board_manufacturer: get("board_vendor"),
        board_model: get("board_name"),
        board_serial: get("board_serial"),
        sku: get("product_sku"),
        manufacturer: get("sys_vendor"),
        model: get("product_name"),
        serial: get("product_serial"),
    };
    (bios != Bios::default()).then_some(bios)
}

/// What only the tables themselves say.
#[derive(Debug, Default)]
pub struct Firmware {
    /// `MEMORIES`.
    pub memories: Vec<Memory>,
    /// `PORTS`.
    pub ports: Vec<Port>,
    /// `SLOTS`.
    pub slots: Vec<Slot>,
}

impl Firmware {
    /// Reads the tables; what is malformed ends them.
    pub fn read(machine: &Machine<'_>) -> Self {
        Self::of(&machine.bytes("sys/firmware/dmi/tables/DMI").unwrap_or_default())
    }

    fn of(tables: &[u8]) -> Self {
        let mut firmware = Self::default();
        let mut rest = tables;
        while let Some((structure, after)) = Structure::first(rest) {
            match structure.kind() {
                8 => firmware.ports.push(port(&structure)),
                9 => firmware.slots.push(slot(&structure)),
                17 => firmware.memories.push(memory(&structure, firmware.memories.len() as u64 + 1)),
                127 => break,
                _ => {}
            }
            rest = after;
        }
        firmware
    }
}

/// One structure: a part with places for numbers, then texts that it names by number (SMBIOS 6.1).
struct Structure<'t> {
    numbers: &'t [u8],
    texts: &'t [u8],
}

impl<'t> Structure<'t> {
    /// The first one, and what is after it.
    fn first(tables: &'t [u8]) -> Option<(Self, &'t [u8])> {
        let length = usize::from(*tables.get(1)?);
        let (numbers, rest) = tables.split_at_checked(length).filter(|_| length >= 4)?;
        let end = rest.windows(2).position(|two| two == [0, 0])?;
        Some((Self { numbers, texts: &rest[..end] }, &rest[end + 2..]))
    }

    fn kind(&self) -> u8 {
        self.numbers[0]
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.numbers.get(at).copied()
    }

    fn word(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.numbers.get(at..at + 2)?.try_into().ok()?))
    }

    fn double_word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.numbers.get(at..at + 4)?.try_into().ok()?))
    }

    /// The text whose number is at this place, unless it says that there is none.
    fn text(&self, at: usize) -> Option<String> {
        let number = usize::from(self.byte(at)?).checked_sub(1)?;
        let text = said(String::from_utf8_lossy(self.texts.split(|byte| *byte == 0).nth(number)?))?;
        let is_none = ["Not Specified", "Unknown", "No Module Installed", "None", "N/A"].contains(&&*text);
        (!is_none).then_some(text)
    }

    /// The word for the number at this place.
    fn named(&self, at: usize, names: &[(u8, &str)]) -> Option<String> {
        let number = self.byte(at)?;
        names.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned())
    }
}

/// SMBIOS 7.9.
fn port(structure: &Structure<'_>) -> Port {
    const KINDS: [(u8, &str); 10] = [
        (0x06, "Serial port"),
        (0x0A, "SCSI"),
        (0x0D, "Keyboard"),
        (0x0E, "Mouse"),
        (0x10, "USB"),
        (0x11, "FireWire"),
        (0x1C, "Video"),
        (0x1D, "Audio"),
        (0x1F, "Network"),
        (0x20, "SATA"),
    ];
    let kind = structure.named(0x08, &KINDS);
    Port { caption: structure.text(0x06), description: kind.clone(), name: structure.text(0x04), kind }
}

/// SMBIOS 7.10.
fn slot(structure: &Structure<'_>) -> Slot {
    Slot {
        description: structure.named(0x05, &[(0x06, "PCI"), (0x12, "PCI-X"), (0xA5, "PCI Express")]),
        designation: structure.word(0x09).map(|id| id.to_string()),
        name: structure.text(0x04),
        status: structure.named(0x07, &[(0x03, "available"), (0x04, "in use"), (0x05, "unavailable")]),
    }
}

/// SMBIOS 7.18.
fn memory(structure: &Structure<'_>, number: u64) -> Memory {
    const SHAPES: [(u8, &str); 6] = [
        (0x05, "Chip"),
        (0x09, "DIMM"),
        (0x0B, "Row of chips"),
        (0x0D, "SODIMM"),
        (0x0F, "FB-DIMM"),
        (0x10, "Die"),
    ];
    const KINDS: [(u8, &str); 14] = [
        (0x03, "DRAM"),
        (0x07, "RAM"),
        (0x0F, "SDRAM"),
        (0x12, "DDR"),
        (0x13, "DDR2"),
        (0x18, "DDR3"),
        (0x1A, "DDR4"),
        (0x1D, "LPDDR3"),
        (0x1E, "LPDDR4"),
        (0x20, "HBM"),
        (0x21, "HBM2"),
        (0x22, "DDR5"),
        (0x23, "LPDDR5"),
        (0x24, "HBM3"),
    ];
    let speed = [0x20, 0x15].into_iter().find_map(|at| structure.word(at).filter(|speed| *speed > 0));
    Memory {
        capacity: capacity(structure),
        caption: structure.text(0x10),
        description: structure.named(0x0E, &SHAPES),
        manufacturer: structure.text(0x17),
        slot: Some(number),
        serial: structure.text(0x18),
        speed: speed.map(|speed| speed.to_string()),
        kind: structure.named(0x12, &KINDS),
    }
}

/// In MB; `None` for an empty place, and where nobody knows (SMBIOS 7.18.4 and 7.18.5).
fn capacity(structure: &Structure<'_>) -> Option<u64> {
    let megabytes = match structure.word(0x0C)? {
        0xFFFF => 0,
        0x7FFF => u64::from(structure.double_word(0x1C)? & 0x7FFF_FFFF),
        kilobytes if kilobytes & 0x8000 != 0 => u64::from(kilobytes & 0x7FFF) / 1024,
        megabytes => megabytes.into(),
    };
    (megabytes > 0).then_some(megabytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure: type, formatted part after the header, strings.
    fn structure(kind: u8, body: &[u8], strings: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, body.len() as u8 + 4, kind, 0];
        bytes.extend(body);
        for text in strings {
            bytes.extend(text.bytes().chain([0]));
        }
        if strings.is_empty() {
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn module(size: u16, extended: u32) -> Vec<u8> {
        let mut body = vec![0, 0, 0xFE, 0xFF, 72, 0, 64, 0];
        body.extend(size.to_le_bytes());
        // DIMM, no set, locators, DDR4, detail, 3200 MT/s, maker, serial number, tag, part, attributes.
        body.extend([9, 0, 1, 2, 26, 0, 0, 0x80, 0x0C, 3, 4, 0, 0, 0]);
        body.extend(extended.to_le_bytes());
        body.extend([0x60, 0x09]);
        structure(17, &body, &["DIMM_A1", "BANK 0", "Maker", "Not Specified"])
    }

    #[test]
    fn modules_ports_and_slots_are_read_from_the_tables() {
        let port = structure(8, &[1, 0, 2, 0x0B, 0x1F], &["J1", "LAN"]);
        let tables: Vec<u8> =
            [module(16384, 0), module(0, 0), module(0x7FFF, 65536), port, structure(127, &[], &[])].concat();
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sys/firmware/dmi/tables");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("DMI"), tables).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let firmware = Firmware::read(&Machine::new(root.path(), &stop));
        let capacities: Vec<_> = firmware.memories.iter().map(|memory| memory.capacity).collect();
        assert_eq!(capacities, [Some(16384), None, Some(65536)]);
        let expected = Memory {
            capacity: Some(16384),
            caption: said("DIMM_A1"),
            description: said("DIMM"),
            manufacturer: said("Maker"),
            slot: Some(1),
            serial: None,
            speed: said("2400"),
            kind: said("DDR4"),
        };
        assert_eq!(firmware.memories[0], expected);
        assert_eq!((firmware.ports.len(), firmware.ports[0].caption.as_deref()), (1, Some("LAN")));
    }

    #[test]
    fn damaged_tables_are_passed_over() {
        let whole = module(16384, 0);
        for length in 0..whole.len() {
            assert_eq!(Firmware::of(&whole[..length]).memories, [], "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 3, 0x7F, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                Firmware::of(&damaged);
            }
        }
    }
}
