// SPDX-License-Identifier: Apache-2.0
//! Replays the corpus of the fuzz target for inventories.
#![allow(missing_docs, reason = "tests")]

use std::fs;

#[path = "../../fuzz/src/inventory.rs"]
mod inventory;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn nothing_breaks_the_reader_of_inventories() {
    replay::replay("inventory", inventory::inventory);
}

#[test]
fn seeds_reach_the_end_of_the_reader() {
    for (seed, expected) in [
        ("plain", "root web-1.example.org"),
        ("escaped", "root web-1.example.org"),
        ("localhost", "root web-1.example.org"),
        ("zoned", "root web-1.example.org"),
        ("other-node", "the certificate is not that of node somebody-else"),
        ("old", "made 2023-11-01 22:00:00 UTC, which is not within two days before and 12 hours after now"),
        ("document-type", "it has a document type, or entities of its own"),
        ("entity", "it has a document type, or entities of its own"),
        ("twice", "not exactly one RUDDER element"),
        ("deep", "its elements are nested deeper than 64 levels"),
    ] {
        let input = fs::read(replay::corpus("inventory").join(seed)).unwrap();
        assert_eq!(inventory::said(&input), expected, "{seed}");
    }
}
