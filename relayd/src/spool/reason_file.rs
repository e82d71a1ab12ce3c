// SPDX-License-Identifier: Apache-2.0
//! Reason files: why a file is in `failed/`, in `<name>.reason` beside it, as JSON.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use protocol::hash::QueueId;
use serde::{Deserialize, Serialize};

/// Why a file was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonFile {
    /// The kind: stable text of [`super::disposition::Reason`].
    pub reason: String,
    /// For people: what exactly.
    pub detail: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The id in log lines.
    pub queue_id: String,
    /// The node that the file name names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The spool it was in: `reports`, `inventories` or `inventory-updates`.
    pub spool: String,
    /// The name it had there.
    pub name: String,
}

/// Longest reason file that is read, in bytes.
const MAX_SIZE: u64 = 64 * 1024;
/// Last extension of reason files.
const EXTENSION: &str = ".reason";
/// Longest name on Linux file systems, in bytes.
const MAX_NAME: usize = 255;

impl ReasonFile {
    /// Writes it beside the failed file, whole or not at all.
    ///
    /// It is not fsynced: a power cut may cost the explanation, never the file, and a flood of bad
    /// files must not cost a disk flush each.
    pub fn write(&self, failed_file: &Path) -> io::Result<()> {
        let target = path_of(failed_file);
        let mut temporary = OsString::from(".");
        temporary.push(target.file_name().unwrap_or_default());
        temporary.push(".tmp");
        // A long name would not fit with what is put around it.
        if temporary.len() > MAX_NAME {
            temporary = format!(".{}.tmp", queue_id(failed_file)).into();
        }
        let temporary = target.with_file_name(temporary);
        let written = fs::write(&temporary, serde_json::to_vec_pretty(self)?);
        let moved = written.and_then(|()| fs::rename(&temporary, &target));
        if moved.is_err() {
            // Half a file on a full disk is of no use.
            let _ = fs::remove_file(&temporary);
        }
        moved
    }

    /// Reads the one beside a failed file. `None`: there is none.
    pub fn read(failed_file: &Path) -> io::Result<Option<Self>> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path_of(failed_file));
        let file = match file {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }
}

/// Where the reason of a failed file is.
pub fn path_of(failed_file: &Path) -> PathBuf {
    let name = failed_file.file_name().unwrap_or_default();
    let mut reason = name.to_owned();
    reason.push(EXTENSION);
    if reason.len() > MAX_NAME {
        reason = format!("{}{EXTENSION}", queue_id(failed_file)).into();
    }
    failed_file.with_file_name(reason)
}

/// Where the reason of a failed file is while the file is put back; a hidden name.
pub fn aside(failed_file: &Path) -> PathBuf {
    failed_file.with_file_name(format!(".{}{EXTENSION}", queue_id(failed_file)))
}

/// Whether a file in `failed/` is a reason file.
pub fn is_one(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(EXTENSION.as_bytes())
}

fn queue_id(file: &Path) -> QueueId {
    QueueId::of_file_name(&file.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_also_beside_the_longest_name() {
        let dir = tempfile::tempdir().unwrap();
        let reason = ReasonFile {
            reason: "bad_content".into(),
            detail: "no \"report\"\n".into(),
            time: "2026-01-02T03:04:05Z".into(),
            queue_id: "00".into(),
            node_id: None,
            spool: "reports".into(),
            name: "x".into(),
        };
        for name in ["x.log".to_owned(), "x".repeat(248), "x".repeat(255)] {
            let file = dir.path().join(&name);
            assert_eq!(ReasonFile::read(&file).unwrap(), None);
            reason.write(&file).unwrap();
            assert_eq!(ReasonFile::read(&file).unwrap(), Some(reason.clone()));
            assert!(is_one(path_of(&file).file_name().unwrap()));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
