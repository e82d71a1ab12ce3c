// SPDX-License-Identifier: Apache-2.0
//! What is remembered of the policy server's keys beside the pins: `pins.json` in the state directory.

use std::{fs, io};

use chrono::{DateTime, Utc};
use protocol::hash::KeyHash;
use serde::{Deserialize, Serialize};

use crate::{
    durable::{self, PRIVATE},
    paths::Paths,
};

/// Keys believed of one server at a time: a server that announces ever new ones fills no disk.
pub const MAX_PINS: usize = 8;

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

    /// Adds a key, to `pins` as well.
    pub fn learn(&mut self, pins: &mut Vec<KeyHash>, new: Learnt) {
        pins.push(new.pin.clone());
        self.learnt.retain(|one| one.pin != new.pin);
        self.learnt.push(new);
        let surplus = self.learnt.len().saturating_sub(MAX_PINS);
        self.learnt.drain(..surplus);
    }

    /// How a key came to be known: from the one before it, and that from its own, newest first; without the key itself,
    /// should it have come back.
    pub fn ancestry(&self, of: &KeyHash) -> Vec<Learnt> {
        let (mut found, mut key): (Vec<Learnt>, _) = (vec![], of);
        while let Some(one) =
            self.learnt.iter().find(|one| one.pin == *key && one.by != *of && !found.contains(one))
        {
            found.push(one.clone());
            key = &one.by;
        }
        found
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
