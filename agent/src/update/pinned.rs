// SPDX-License-Identifier: Apache-2.0
//! Keys that may sign policies. A file that is there but says none is no leave to do without.

use std::{fs, io, path::Path};

use protocol::{
    certificate::{self, Certificate},
    hash::ContentDigest,
};

use super::{UpdateError, slot};

/// More than any such file has.
const MAX_FILE: u64 = 1 << 20;

/// The pinned keys.
#[derive(Debug, Default)]
pub struct Pinned {
    /// Their certificates; none when none are pinned.
    pub certificates: Vec<Certificate>,
    /// Changes when the keys do; `None` when none are pinned.
    pub digest: Option<ContentDigest>,
}

impl Pinned {
    /// Reads them.
    pub fn load(file: &Path) -> Result<Self, UpdateError> {
        let unusable = |why: String| UpdateError::PolicyKey { file: file.to_owned(), why };
        let pem = match fs::metadata(file) {
            Ok(metadata) if metadata.len() > MAX_FILE => {
                return Err(unusable("bigger than 1 MiB".to_owned()));
            }
            Ok(_) => fs::read(file),
            Err(e) => Err(e),
        };
        let pem = match pem {
            Ok(pem) => pem,
            // A link that leads nowhere is there all the same.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !is_there(file)? => return Ok(Self::default()),
            Err(e) => return Err(unusable(e.to_string())),
        };
        let certificates = certificate::read_bundle(&pem).map_err(|e| unusable(e.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("there is no certificate in it".to_owned()));
        }
        Ok(Self { certificates, digest: Some(ContentDigest::of(&pem)) })
    }
}

fn is_there(file: &Path) -> Result<bool, UpdateError> {
    Ok(slot::id_of(file).map_err(UpdateError::Disk)?.is_some())
}

#[cfg(test)]
mod tests {
    use protocol::{
        node_id::NodeId,
        private_key::{self, KeyKind},
    };

    use super::*;

    #[test]
    fn only_a_missing_file_means_that_none_is_pinned() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("policy_key.pem");
        assert!(Pinned::load(&file).unwrap().digest.is_none());
        for damage in ["", "# none\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            fs::write(&file, damage).unwrap();
            assert!(matches!(Pinned::load(&file), Err(UpdateError::PolicyKey { .. })), "{damage:?}");
        }
        let key = private_key::generate(KeyKind::P256).unwrap();
        let one = private_key::self_signed(&key, &NodeId::root()).unwrap().to_pem();
        fs::write(&file, [&one[..], &one[..]].concat()).unwrap();
        assert_eq!(Pinned::load(&file).unwrap().certificates.len(), 2);
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("nowhere", &file).unwrap();
        assert!(Pinned::load(&file).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(Pinned::load(&file).is_err());
    }
}
