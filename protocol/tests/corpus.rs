// SPDX-License-Identifier: Apache-2.0
//! Replays the corpus of the fuzz targets: each input once through the same functions.

use std::{fs, path::Path};

use protocol::smime;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// Feeds all inputs of one target; a panic names the input by the output before it.
fn replay(target: &str, run: fn(&[u8])) {
    let mut inputs = 0;
    for entry in fs::read_dir(corpus(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs for {target}");
}

fn corpus(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

#[test]
fn names() {
    replay("names", targets::names);
}

#[test]
fn run_log() {
    replay("run_log", targets::run_log);
}

#[test]
fn smime() {
    replay("smime", targets::smime);
}

#[test]
fn unpack() {
    replay("unpack", targets::unpack);
}

#[test]
fn node_list() {
    replay("node_list", targets::node_list);
}

#[test]
fn certificates() {
    replay("certificates", targets::certificates);
}

#[test]
fn upload_path() {
    replay("upload_path", targets::upload_path);
}

#[test]
fn signed_seeds_reach_the_end_of_the_reader() {
    for (seed, accepted) in [("valid", true), ("altered", false), ("other-key", false)] {
        let message = fs::read(corpus("smime").join(seed)).unwrap();
        let verified = smime::verify(&message, std::slice::from_ref(&*targets::SIGNER));
        assert_eq!(verified.is_ok(), accepted, "{seed}: {verified:?}");
    }
}
