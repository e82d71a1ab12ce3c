// SPDX-License-Identifier: Apache-2.0
//! Passwords, and credentials of the service manager in their place.
//!
//! Where a setting is a password or a path, `credential:NAME` stands for what systemd was told to pass with
//! `LoadCredential=NAME:…` (systemd.exec(5)): the daemon gets it without a right to the file itself.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::value::Value;

/// A text that is never shown, and erased when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Value for Secret {
    fn kind() -> String {
        "text in double quotes, or \"credential:NAME\"; a secret, never logged".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = Zeroizing::new(String::read(value)?);
        match credential(&text)? {
            None => Ok(Self(text)),
            Some(file) => read_file(&file).map(Self),
        }
    }
    fn show(&self) -> Option<String> {
        self.0.show()
    }
    fn masked(&self) -> Option<String> {
        "***".to_owned().show()
    }
}

/// Where the service manager keeps credentials of the daemon; commands of an administrator find them there
/// while the daemon runs.
const OF_THE_DAEMON: &str = "/run/credentials/rudder-relayd.service";

const MARK: &str = "credential:";

/// The file of a credential; `None` when `text` does not name one.
pub fn credential(text: &str) -> Result<Option<PathBuf>, String> {
    let Some(name) = text.strip_prefix(MARK) else { return Ok(None) };
    if name.is_empty() || name.contains(['/', '\0']) || [".", ".."].contains(&name) {
        return Err(format!(
            "{name:?} is not the name of a credential; write \"credential:NAME\", without slashes"
        ));
    }
    let directory = env::var_os("CREDENTIALS_DIRECTORY").map_or_else(|| OF_THE_DAEMON.into(), PathBuf::from);
    Ok(Some(directory.join(name)))
}

/// The text in the file, without the line end that editors add.
fn read_file(file: &Path) -> Result<Zeroizing<String>, String> {
    let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|error| {
        format!(
            "cannot read the credential {}: {error}; pass it with LoadCredential= in the unit, and start the \
             daemon with it",
            file.display()
        )
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    match text.is_empty() {
        false => Ok(text.to_owned().into()),
        true => {
            Err(format!("the credential {} is empty; write the password into its source", file.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_of_the_service_manager() {
        assert_eq!(credential("a password"), Ok(None));
        let file = credential("credential:db.password").unwrap().unwrap();
        assert!(file.ends_with("db.password") && file.is_absolute(), "{file:?}");
        for bad in ["credential:", "credential:..", "credential:../shadow", "credential:a/b"] {
            assert!(credential(bad).unwrap_err().contains("without slashes"), "{bad}");
        }
    }

    #[test]
    fn a_password_from_a_file_has_no_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        assert!(read_file(&file).unwrap_err().contains("LoadCredential="));
        fs::write(&file, "s3cret \n").unwrap();
        assert_eq!(read_file(&file).unwrap().as_str(), "s3cret ");
        fs::write(&file, "\n").unwrap();
        assert!(read_file(&file).unwrap_err().contains("is empty"));
    }
}
