// SPDX-License-Identifier: Apache-2.0
//! Copies of certificate, key and authority for other programs on this machine, remembered and made
//! again after each renewal.
//!
//! Invariant: each file is whole at any moment, and a key has its owner and mode before it has its
//! name. The hook runs after all files are in place; until it has succeeded the export counts as open.

use std::{
    io,
    path::{Path, PathBuf},
};

use openssl::sha::sha256;
use protocol::private_key;
use serde::{Deserialize, Serialize};

use super::{Issued, hook, owner};
use crate::{
    durable::{self, Rights},
    identity::Identity,
    state::State,
};

/// Where copies go, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Certificate, followed by that of the authority.
    pub certificate: Option<PathBuf>,
    /// Private key.
    pub key: Option<PathBuf>,
    /// Certificate of the authority.
    pub authority: Option<PathBuf>,
    /// User by name or number; else the one the agent runs as.
    pub owner: Option<String>,
    /// Group by name or number; else that of the agent.
    pub group: Option<String>,
    /// Rights of the key; certificates may be read by everybody.
    pub key_mode: u32,
    /// Program and arguments to run after each change.
    pub hook: Vec<String>,
    /// What was exported, once all was done.
    #[serde(default)]
    pub done: Option<String>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Rights of certificates: nothing in them is secret.
const CERTIFICATE_MODE: u32 = 0o644;

impl Export {
    /// Whether this is for the same files.
    fn is_same(&self, other: &Self) -> bool {
        let places = |e: &Self| [e.certificate.clone(), e.key.clone(), e.authority.clone()];
        places(self) == places(other)
    }

    /// The files.
    fn places(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key, &self.authority].into_iter().filter_map(|place| place.as_deref())
    }

    /// Whether one of the files is this one.
    fn has(&self, path: &Path) -> bool {
        self.places().any(|place| place == path)
    }

    /// Writes the files and runs the hook.
    async fn make(&self, issued: &Issued, identity: &Identity) -> Result<(), String> {
        let owner = self.owner.as_deref().map(owner::user).transpose()?;
        let group = self.group.as_deref().map(owner::group).transpose()?;
        let key = private_key::to_pem(&identity.key).map_err(|e| e.to_string())?;
        let (chain, authority) = (issued.chain(), issued.authority());
        // The certificate last: who waits for it finds its key there already.
        for (place, content, mode) in [
            (&self.key, key.as_slice(), self.key_mode),
            (&self.authority, &authority, CERTIFICATE_MODE),
            (&self.certificate, &chain, CERTIFICATE_MODE),
        ] {
            let Some(path) = place else { continue };
            durable::create_parent(path)
                .and_then(|()| durable::replace_for(path, content, Rights { mode, owner, group }))
                .map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let places = [
            ("AGENT_CERTIFICATE", self.certificate.as_deref()),
            ("AGENT_KEY", self.key.as_deref()),
            ("AGENT_CA", self.authority.as_deref()),
        ];
        hook::run(&self.hook, &places).await
    }
}

/// All exports of this machine.
pub fn load(state: &State) -> Vec<Export> {
    state.read("exports.json")
}

/// Remembers an export, in the place of one for the same files; needs the identity lock.
pub fn remember(state: &State, new: Export) -> io::Result<()> {
    let mut all = load(state);
    all.retain(|export| !export.is_same(&new));
    all.push(new);
    state.write("exports.json", &all)
}

/// Forgets the exports to this file, which itself stays; needs the identity lock.
pub fn forget(state: &State, path: &Path) -> io::Result<usize> {
    let all = load(state);
    let kept: Vec<&Export> = all.iter().filter(|export| !export.has(path)).collect();
    state.write("exports.json", &kept)?;
    Ok(all.len() - kept.len())
}

/// What names the state of an export. The key goes with the certificate, but the same certificate may
/// come with a newer one of its authority.
fn mark(issued: &Issued) -> String {
    sha256(&issued.chain()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an export of this certificate is not done, or one of its files is gone.
pub fn is_open(export: &Export, issued: &Issued) -> bool {
    export.done.as_ref() != Some(&mark(issued)) || export.places().any(|place| !place.exists())
}

/// Makes all exports that are not done; needs the identity lock. One that fails holds up no other.
///
/// Gives the problems.
pub async fn make_open(state: &State, issued: &Issued, identity: &Identity) -> io::Result<Vec<String>> {
    let mut all = load(state);
    let mut problems = vec![];
    for at in 0..all.len() {
        if !is_open(&all[at], issued) {
            continue;
        }
        let made = all[at].make(issued, identity).await;
        all[at].problem = made.as_ref().err().cloned();
        match made {
            Ok(()) => all[at].done = Some(mark(issued)),
            Err(problem) => problems.push(problem),
        }
        // After each, so that a hook that succeeded is not run again when the machine stops.
        state.write("exports.json", &all)?;
    }
    Ok(problems)
}
