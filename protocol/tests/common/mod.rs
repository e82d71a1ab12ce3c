// SPDX-License-Identifier: Apache-2.0
//! What the tests of signatures share: published samples, and messages made by stock OpenSSL.
#![allow(dead_code, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use openssl::pkey::{PKey, Private};
use protocol::{certificate::Certificate, private_key};

/// Directory of published samples, or `None`, said once, when they are not on this machine.
pub fn samples() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    let directory = std::env::var_os("RELAYD_FIXTURES").map_or_else(beside, PathBuf::from);
    if directory.is_dir() {
        return Some(directory);
    }
    eprintln!("SKIPPED: no compatibility samples here; RELAYD_FIXTURES can name their directory");
    None
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// Runs stock OpenSSL in `directory`; returns its standard output.
pub fn openssl(directory: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A node with its key and certificate also in `key.pem` and `cert.pem` of a directory.
pub struct Identity {
    pub directory: tempfile::TempDir,
    pub key: PKey<Private>,
    pub certificate: Certificate,
}

impl Identity {
    pub fn new(key: PKey<Private>) -> Self {
        let certificate = private_key::self_signed(&key, &"node-1".parse().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key.pem"), private_key::to_pem(&key).unwrap()).unwrap();
        std::fs::write(directory.path().join("cert.pem"), certificate.to_x509().unwrap().to_pem().unwrap())
            .unwrap();
        Self { directory, key, certificate }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
