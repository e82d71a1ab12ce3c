// SPDX-License-Identifier: Apache-2.0
//! Replays the corpus of the fuzz targets: each input once through the same functions.

use std::{fs, path::Path};

use protocol::smime;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// How often each input is tried with damage; `RELAYD_FUZZ_ROUNDS` says otherwise for a soak.
const ROUNDS: u64 = 50;

/// Feeds all inputs of one target, as they are and damaged. A panic names the input and the round by
/// the output before it.
fn replay(target: &str, run: fn(&[u8])) {
    let rounds = std::env::var("RELAYD_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut paths: Vec<_> =
        fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} inputs for {target}", paths.len());
    let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    for (index, input) in inputs.iter().enumerate() {
        println!("{}", paths[index].display());
        run(input);
        for round in 0..rounds {
            println!("  round {round}");
            run(&damaged(input, &inputs[(index + round as usize) % inputs.len()], round));
        }
    }
}

/// The input with bytes changed, a part left out, or a part of another input put in; the same each time.
fn damaged(input: &[u8], other: &[u8], round: u64) -> Vec<u8> {
    let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ input.len() as u64;
    let mut below = |bound: usize| {
        // Steele, Lea and Flood's SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (bound as u64 + 1)) as usize
    };
    let mut bytes = input.to_vec();
    match round % 3 {
        0 if !bytes.is_empty() => {
            for _ in 0..=below(4) {
                let at = below(bytes.len() - 1);
                bytes[at] = below(255) as u8;
            }
        }
        1 => {
            let from = below(bytes.len());
            let to = from + below((bytes.len() - from).min(64));
            bytes.drain(from..to);
        }
        _ => {
            let from = below(other.len());
            let to = from + below(other.len() - from);
            let at = below(bytes.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
    }
    bytes
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
fn node_tree() {
    replay("node_tree", targets::node_tree);
}

#[test]
fn enrolment_request() {
    replay("enrolment_request", targets::enrolment_request);
}

#[test]
fn signed_seeds_reach_the_end_of_the_reader() {
    for (seed, accepted) in [("valid", true), ("altered", false), ("other-key", false)] {
        let message = fs::read(corpus("smime").join(seed)).unwrap();
        let verified = smime::verify(&message, std::slice::from_ref(&*targets::SIGNER));
        assert_eq!(verified.is_ok(), accepted, "{seed}: {verified:?}");
    }
}

#[test]
fn seeds_of_requests_reach_the_end_of_the_reader() {
    for (seed, expected) in [
        ("p256", "node-1 web true"),
        ("rsa", "node-2  false"),
        ("crlf", "node-1 web true"),
        ("s-plain", "e745a140-40bc-4b86-b6dc-084488fc906b  false"),
        ("s-full", "e745a140-40bc-4b86-b6dc-084488fc906b web-1.example.org true"),
        ("s-multi-valued", "n  true"),
        ("with-certificate", "node-1 web false"),
        ("s-certificate-of-another", "the certificate in the request is not one of this node and this key"),
        ("s-nul", "the subject has not exactly one UID that is a node id"),
        ("two", "not one PEM certificate request and nothing else"),
    ] {
        let input = fs::read(corpus("enrolment_request").join(seed)).unwrap();
        let said = match targets::parsed_request(&input) {
            Ok(request) => format!("{} {} {}", request.node_id, request.hostname, request.as_relay),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{seed}");
    }
}
