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
pub struct Secret {
    /// The text; empty when it is absent.
    pub text: Zeroizing<String>,
    /// Why it is not here, when it is a credential that this process cannot read. The daemon does not start then;
    /// commands do without it, unless they need this very text.
    pub absent: Option<Absent>,
}

/// A credential that cannot be read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// Why it cannot be read.
    pub cause: String,
}

impl Absent {
    fn new(file: &Path, error: &std::io::Error) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, cause: format!("cannot read the credential {}: {error}", file.display()) }
    }

    /// What the daemon says, which does not start without it.
    pub fn for_the_daemon(&self) -> String {
        format!("{}; pass it with LoadCredential= in the unit, and start the daemon with it", self.cause)
    }

    /// What a command says that needs it.
    pub fn for_a_command(&self) -> String {
        format!("{}; {}", self.cause, self.remedy())
    }

    /// How a command gets it.
    pub fn remedy(&self) -> String {
        format!(
            "start the service, which has it, or pass it to this command: `systemd-run --pipe --wait \
             --property=LoadCredential={}:FILE relayd …`",
            self.name
        )
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned().into(), absent: None }
    }
}

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
            None => Ok(Self { text, absent: None }),
            Some(file) => read_file(&file),
        }
    }
    fn show(&self) -> Option<String> {
        self.text.show()
    }
    fn masked(&self) -> Option<String> {
        "***".to_owned().show()
    }
    fn absent(&self) -> Option<&Absent> {
        self.absent.as_ref()
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
    Ok(Some(passed().unwrap_or_else(|| OF_THE_DAEMON.into()).join(name)))
}

/// Where the service manager has put the credentials of this process, if it passed any.
pub fn passed() -> Option<PathBuf> {
    env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The name of the credential that this file is, if it is one.
pub fn name_of(file: &Path) -> Option<String> {
    let directory = passed().unwrap_or_else(|| OF_THE_DAEMON.into());
    let name = file.file_name().filter(|_| file.parent() == Some(&directory))?;
    Some(name.to_string_lossy().into_owned())
}

/// The text in the file, without the line end that editors add.
fn read_file(file: &Path) -> Result<Secret, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            return Ok(Secret { text: String::new().into(), absent: Some(Absent::new(file, &error)) });
        }
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    match text.is_empty() {
        false => Ok(text.into()),
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
        let absent = read_file(&file).unwrap().absent.unwrap();
        assert!(absent.for_the_daemon().contains("LoadCredential= in the unit"), "{absent:?}");
        assert!(absent.for_a_command().contains("LoadCredential=password:FILE"), "{absent:?}");
        fs::write(&file, "s3cret \n").unwrap();
        assert_eq!(read_file(&file), Ok("s3cret ".into()));
        fs::write(&file, "\n").unwrap();
        assert!(read_file(&file).unwrap_err().contains("is empty"));
    }
}
