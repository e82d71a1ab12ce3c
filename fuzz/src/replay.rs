// SPDX-License-Identifier: Apache-2.0
//! Replays a corpus: each input once as it is, and damaged in ways that are the same each time.
//!
//! Tests of the crates whose readers are fuzzed include this file.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// How often each input is tried with damage; `RELAYD_FUZZ_ROUNDS` says otherwise for a soak.
const ROUNDS: u64 = 50;

/// Feeds all inputs of one target, as they are and damaged. A panic names the input and the round by
/// the output before it.
pub fn replay(target: &str, run: fn(&[u8])) {
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

/// Where the inputs of a target are.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}
