// SPDX-License-Identifier: Apache-2.0
//! What a bomb costs in memory. Alone in its file, because it measures the whole process.
#![allow(missing_docs)]

use std::{fs, io::Write};

use flate2::{Compression as Level, write::GzEncoder};
use protocol::{
    compression::{Compression, CompressionError, unpack},
    limits::RUN_LOG_INFLATED,
};

const MIB: u64 = 1 << 20;

/// The most memory this process ever had, in bytes, since it was last reset.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn bomb(inflated: u64) -> Vec<u8> {
    let zeros = vec![0; MIB as usize];
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    for _ in 0..inflated / MIB {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn zip_of(content: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("run.log", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap().into_inner()
}

/// A zip archive of many empty entries, whose directory is what costs memory.
fn crowd(entries: usize) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for n in 0..entries {
        archive.start_file(n.to_string(), zip::write::SimpleFileOptions::default()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_bomb_costs_little_memory() {
    let gz = bomb(1024 * MIB);
    assert!((gz.len() as u64) < 1024 * MIB / 1000, "{} bytes: not much of a bomb", gz.len());
    let mut lying = gz.clone();
    let size_at = lying.len() - 4;
    lying[size_at..].copy_from_slice(&u32::MAX.to_le_bytes());
    let zip = zip_of(&vec![0; 128 * MIB as usize]);
    let crowd = crowd(20_000);

    reset_peak();
    let before = peak();
    for (name, packed, compression) in [
        ("gzip", &gz, Compression::Gzip),
        ("gzip that lies about its size", &lying, Compression::Gzip),
        ("zip", &zip, Compression::Zip),
    ] {
        let refused = unpack(packed, compression, RUN_LOG_INFLATED);
        assert!(matches!(refused, Err(CompressionError::TooLarge(RUN_LOG_INFLATED))), "{name}: {refused:?}");
    }
    assert!(matches!(
        unpack(&crowd, Compression::Zip, RUN_LOG_INFLATED),
        Err(CompressionError::Invalid("zip", _))
    ));
    let cost = peak() - before;
    assert!(cost <= 16 * MIB, "{cost} bytes");

    // A bomb in a bomb is inflated once: what is in it is no run log.
    let nested = protocol::compression::gzip(&gz);
    assert!(*unpack(&nested, Compression::Gzip, RUN_LOG_INFLATED).unwrap() == gz[..]);
    // Of something truly as large as allowed there is one copy.
    let largest = bomb(RUN_LOG_INFLATED);
    reset_peak();
    let before = peak();
    assert_eq!(unpack(&largest, Compression::Gzip, RUN_LOG_INFLATED).unwrap().len() as u64, RUN_LOG_INFLATED);
    let cost = peak() - before;
    assert!(cost <= RUN_LOG_INFLATED + 16 * MIB, "{cost} bytes");
}
