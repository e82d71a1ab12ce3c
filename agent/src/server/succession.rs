// SPDX-License-Identifier: Apache-2.0
//! How the keys of the policy server change while nodes follow: `pins.json` in the state directory.
//!
//! ```text
//! key A is valid ──announces B──▶ A and B are valid ──server shows B only──▶ B (A goes, in the pin file)
//!               └─ shows B, and a certificate of B that A signed ─▶ same, for nodes that slept through it
//! ```
//!
//! Invariant: a key is learnt only over a connection whose server had proved a valid one, and counts
//! only while that one does. Pins of the policies stay what the policies say; learnt ones come on top.

use std::{fs, io};

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use protocol::{
    hash::KeyHash,
    headers::{SERVER_PINS, parse_pins},
    tls::ServerTrust,
};
use serde::{Deserialize, Serialize};

use super::trust::{self, Pins, Source};
use crate::{
    durable::{self, PRIVATE},
    paths::Paths,
    settings::Settings,
};

/// Keys believed of one server at a time: a server that announces ever new ones fills no disk.
const MAX_PINS: usize = 8;

/// What is remembered beside the pins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Keys that came from valid ones.
    pub learnt: Vec<Learnt>,
    /// The operator's answer to policies whose pins are useless.
    pub instead: Option<Instead>,
}

/// A key, and the valid one that it is known from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    /// The new key.
    pub pin: KeyHash,
    /// The valid one.
    pub by: KeyHash,
    /// When.
    pub at: DateTime<Utc>,
}

/// Pins that count as long as the policies have exactly these others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// What the policies say.
    pub of: Vec<KeyHash>,
    /// What counts.
    pub pins: Vec<KeyHash>,
}

impl Memory {
    /// Reads it; what cannot be read counts as nothing learnt.
    pub fn load(paths: &Paths) -> Self {
        let text = fs::read(paths.state.join("pins.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, paths: &Paths) -> io::Result<()> {
        durable::create_private_directory(&paths.state)?;
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        durable::replace(&paths.state.join("pins.json"), &text, PRIVATE)
    }

    /// Adds to `pins` what was learnt from them, and from that.
    pub fn extend(&self, pins: &mut Vec<KeyHash>) {
        while let Some(next) =
            self.learnt.iter().find(|one| pins.contains(&one.by) && !pins.contains(&one.pin))
        {
            pins.push(next.pin.clone());
        }
    }
}

/// What a connection has shown about the server's keys.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// DER SubjectPublicKeyInfo of each certificate, the server's own first.
    pub chain: Vec<Vec<u8>>,
    /// Keys the server has announced.
    pub announced: Vec<KeyHash>,
}

impl Seen {
    /// From a connection and the headers of an answer on it.
    pub fn new(chain: &[Vec<u8>], headers: &HeaderMap) -> Self {
        let announced = headers.get(SERVER_PINS).and_then(|value| value.to_str().ok());
        let announced = announced.and_then(parse_pins).unwrap_or_default();
        Self { chain: chain.to_vec(), announced }
    }
}

/// Follows the server's keys after an answer over a connection whose server was found valid.
///
/// Gives what has changed, in words. Without pins (first use, authorities) there is nothing to follow.
pub fn heed(
    settings: &Settings,
    judged_by: &ServerTrust,
    seen: &Seen,
) -> Result<Vec<String>, trust::TrustError> {
    let ServerTrust::Pins(judged_by) = judged_by else { return Ok(vec![]) };
    let paths = &settings.paths;
    let before = trust::pins(settings)?;
    // Somebody has pinned others meanwhile: by those, this server was never found valid.
    if before.pins != *judged_by {
        return Ok(vec![]);
    }
    let mut memory = Memory::load(paths);
    let mut after = before.pins.clone();
    let words = follow(&mut after, before.source, &mut memory, seen, Utc::now());
    let failed = |e| trust::TrustError::Io(paths.server_pins.clone(), e);
    if !words.is_empty() {
        // Whatever is cut short is found again: a new key in the memory only is learnt anew, and an old one
        // that is gone from the pin file only is no key any more.
        let adds = after.len() > before.pins.len();
        if adds {
            memory.save(paths).map_err(failed)?;
        }
        if before.source == Source::File {
            trust::write(paths, &after).map_err(failed)?;
        }
        if !adds {
            memory.save(paths).map_err(failed)?;
        }
    }
    Ok(words)
}

/// The change itself: what is valid afterwards, and what to say about it.
fn follow(
    pins: &mut Vec<KeyHash>,
    source: Source,
    memory: &mut Memory,
    seen: &Seen,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut words = vec![];
    let pinned = |pins: &[KeyHash], key: &[u8]| pins.iter().find(|pin| pin.matches(key)).cloned();
    let Some((leaf, above)) = seen.chain.split_first() else { return words };
    let shown = KeyHash::sha256_of(leaf);
    let known = pinned(pins, leaf);
    if known.is_none() {
        // The handshake has checked that a pinned key vouches for this one.
        let Some(by) = above.iter().find_map(|key| pinned(pins, key)) else { return words };
        words.push(format!("the policy server has a new key {shown}, signed by its key {by}; it is trusted"));
        learn(pins, memory, Learnt { pin: shown.clone(), by, at: now });
    }
    if seen.announced.contains(&shown) {
        let by = known.unwrap_or_else(|| shown.clone());
        for next in seen.announced.iter().filter(|next| **next != shown) {
            if !pins.contains(next) && pins.len() < MAX_PINS {
                words.push(format!("the policy server will change its key to {next}; both are trusted"));
                learn(pins, memory, Learnt { pin: next.clone(), by: by.clone(), at: now });
            }
        }
    }
    if source == Source::File && words.is_empty() {
        let over: Vec<Learnt> = memory.learnt.iter().filter(|one| one.pin == shown).cloned().collect();
        for one in over.into_iter().filter(|one| !seen.announced.contains(&one.by)) {
            memory.learnt.retain(|other| *other != one);
            if pins.contains(&one.by) {
                pins.retain(|pin| *pin != one.by);
                words.push(format!("the policy server's old key {} is not trusted any more", one.by));
            }
        }
    }
    words
}

fn learn(pins: &mut Vec<KeyHash>, memory: &mut Memory, new: Learnt) {
    pins.push(new.pin.clone());
    memory.learnt.retain(|one| one.pin != new.pin);
    memory.learnt.push(new);
    let surplus = memory.learnt.len().saturating_sub(MAX_PINS);
    memory.learnt.drain(..surplus);
}

/// Pins these keys and nothing else from now on; also where the policies have others, until they change.
pub fn pin(settings: &Settings, pins: &[KeyHash]) -> io::Result<()> {
    let of = &settings.policy_pins;
    let instead =
        (!of.is_empty() && of.as_slice() != pins).then(|| Instead { of: of.clone(), pins: pins.to_vec() });
    Memory { learnt: vec![], instead }.save(&settings.paths)?;
    trust::write(&settings.paths, pins)
}

/// Forgets all pins but those of the policies.
pub fn reset(paths: &Paths) -> io::Result<()> {
    for file in [&paths.server_pins, &paths.state.join("pins.json")] {
        match fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Err(_) => {}
            Ok(()) => durable::sync_parent(file)?,
        }
    }
    Ok(())
}

/// The pins that count, with what was learnt.
pub fn effective(settings: &Settings, file: Vec<KeyHash>) -> Pins {
    let memory = Memory::load(&settings.paths);
    let of_policies = !settings.policy_pins.is_empty();
    let (source, mut pins) = match &memory.instead {
        Some(instead) if of_policies && instead.of == settings.policy_pins => {
            (Source::Operator, instead.pins.clone())
        }
        _ if of_policies => (Source::Policies, settings.policy_pins.clone()),
        _ if file.is_empty() => (Source::None, vec![]),
        _ => (Source::File, file),
    };
    if source != Source::File {
        memory.extend(&mut pins);
    }
    Pins { source, pins }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> KeyHash {
        KeyHash::sha256_of(name.as_bytes())
    }

    fn seen(chain: &[&str], announced: &[&str]) -> Seen {
        Seen {
            chain: chain.iter().map(|name| name.as_bytes().to_vec()).collect(),
            announced: announced.iter().map(|name| key(name)).collect(),
        }
    }

    fn machine(policies: &[&str], file: &[&str]) -> (tempfile::TempDir, Settings) {
        let root = tempfile::tempdir().unwrap();
        let (mut settings, _) = Settings::load(root.path()).unwrap();
        settings.policy_pins = policies.iter().map(|name| key(name)).collect();
        if !file.is_empty() {
            trust::write(&settings.paths, &file.iter().map(|name| key(name)).collect::<Vec<_>>()).unwrap();
        }
        (root, settings)
    }

    /// Over a connection that was made just now.
    fn follows(settings: &Settings, seen: &Seen) -> Result<Vec<String>, trust::TrustError> {
        heed(settings, &trust::server_trust(settings)?, seen)
    }

    fn valid(settings: &Settings) -> Vec<KeyHash> {
        trust::pins(settings).unwrap().pins
    }

    #[test]
    fn an_announced_key_is_added_and_the_old_one_goes_once_the_new_one_is_used() {
        let (_root, settings) = machine(&[], &["a"]);
        assert_eq!(follows(&settings, &seen(&["a"], &["a", "b"])).unwrap().len(), 1);
        assert_eq!(valid(&settings), [key("a"), key("b")]);
        assert!(follows(&settings, &seen(&["a"], &["a", "b"])).unwrap().is_empty());
        assert!(follows(&settings, &seen(&["a"], &[])).unwrap().is_empty(), "an announcement may be missing");
        assert!(follows(&settings, &seen(&["b"], &["b", "a"])).unwrap().is_empty(), "still announced");
        assert_eq!(follows(&settings, &seen(&["b"], &[])).unwrap().len(), 1);
        assert_eq!(valid(&settings), [key("b")]);
    }

    #[test]
    fn a_server_that_was_found_valid_by_pins_of_before_teaches_nothing() {
        let (_root, settings) = machine(&[], &["a"]);
        let judged_by = trust::server_trust(&settings).unwrap();
        // `a` is stolen; while its thief answers, the operator pins `n`, whose certificate everybody can have.
        pin(&settings, &[key("n")]).unwrap();
        assert!(heed(&settings, &judged_by, &seen(&["a", "n"], &["a", "x"])).unwrap().is_empty());
        assert_eq!(valid(&settings), [key("n")]);
        reset(&settings.paths).unwrap();
        assert!(heed(&settings, &ServerTrust::FirstUse, &seen(&["x"], &["x", "y"])).unwrap().is_empty());
        assert_eq!(valid(&settings), []);
    }

    #[test]
    fn pins_of_the_operator_are_never_dropped() {
        let (_root, settings) = machine(&[], &["a", "spare"]);
        follows(&settings, &seen(&["a"], &["a", "b"])).unwrap();
        follows(&settings, &seen(&["b"], &[])).unwrap();
        assert_eq!(valid(&settings), [key("spare"), key("b")]);
        assert!(follows(&settings, &seen(&["spare"], &[])).unwrap().is_empty());
        assert_eq!(valid(&settings), [key("spare"), key("b")]);
    }

    #[test]
    fn a_vouched_key_is_stored() {
        let (_root, settings) = machine(&[], &["a"]);
        let words = follows(&settings, &seen(&["c", "b", "a"], &[])).unwrap();
        assert!(words[0].contains(&key("c").to_string()) && words[0].contains(&key("a").to_string()));
        assert_eq!(valid(&settings), [key("a"), key("c")]);
        follows(&settings, &seen(&["c", "b", "a"], &[])).unwrap();
        assert_eq!(valid(&settings), [key("c")]);
    }

    #[test]
    fn what_the_policies_say_stays_and_learnt_keys_count_only_below_it() {
        let (_root, mut settings) = machine(&["a"], &["other"]);
        follows(&settings, &seen(&["a"], &["a", "b"])).unwrap();
        assert_eq!(valid(&settings), [key("a"), key("b")]);
        follows(&settings, &seen(&["b"], &[])).unwrap();
        assert_eq!(valid(&settings), [key("a"), key("b")]);
        settings.policy_pins = vec![key("z")];
        assert_eq!(valid(&settings), [key("z")]);
    }

    #[test]
    fn the_operator_wins_over_useless_policies_until_they_change() {
        let (_root, mut settings) = machine(&["a"], &[]);
        pin(&settings, &[key("new")]).unwrap();
        assert_eq!(valid(&settings), [key("new")]);
        settings.policy_pins = vec![key("b")];
        assert_eq!(valid(&settings), [key("b")]);
        reset(&settings.paths).unwrap();
        settings.policy_pins = vec![key("a")];
        assert_eq!(valid(&settings), [key("a")]);
    }

    #[test]
    fn a_header_that_does_not_name_the_shown_key_is_nothing() {
        let (_root, settings) = machine(&[], &["a"]);
        assert!(follows(&settings, &seen(&["a"], &["b"])).unwrap().is_empty());
        assert!(follows(&settings, &seen(&["x"], &["x", "b"])).unwrap().is_empty());
        assert_eq!(valid(&settings), [key("a")]);
        let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let many: Vec<&str> = std::iter::once("a").chain(many.iter().map(String::as_str)).collect();
        follows(&settings, &seen(&["a"], &many)).unwrap();
        assert_eq!(valid(&settings).len(), MAX_PINS);
    }

    proptest! {
        /// Whatever servers do: the one that was just found valid stays valid, something always is, and
        /// nothing is that no valid server has shown or announced.
        #[test]
        fn trust_comes_from_trust(
            events in proptest::collection::vec((0u8..6, 0u8..7, proptest::collection::vec(0u8..6, 0..4)), 0..40),
            by_file: bool,
        ) {
            let name = |n: u8| format!("key {n}");
            let source = if by_file { Source::File } else { Source::Policies };
            let (mut pins, mut memory) = (vec![key(&name(0))], Memory::default());
            let mut heard = pins.clone();
            for (leaf, above, announced) in events {
                let chain = [name(leaf), name(above)];
                // A handshake is refused when neither the key nor the one that vouches for it is pinned.
                if !chain.iter().any(|one| pins.contains(&key(one))) {
                    continue;
                }
                let announced: Vec<String> = announced.into_iter().map(name).collect();
                heard.extend(chain[..1].iter().chain(&announced).map(|one| key(one)));
                let texts = |all: &[String]| all.iter().map(String::as_bytes).map(<[u8]>::to_vec).collect();
                let seen = Seen { chain: texts(&chain), announced: announced.iter().map(|one| key(one)).collect() };
                follow(&mut pins, source, &mut memory, &seen, Utc::now());
                prop_assert!(pins.contains(&key(&name(leaf))));
                prop_assert!(pins.len() <= MAX_PINS + 1 && memory.learnt.len() <= MAX_PINS);
                prop_assert!(pins.iter().all(|pin| heard.contains(pin)));
                prop_assert!(by_file || pins.contains(&key(&name(0))), "the policies' pin stays");
            }
        }
    }
}
