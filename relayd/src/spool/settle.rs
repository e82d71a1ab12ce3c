// SPDX-License-Identifier: Apache-2.0
//! What happens to a file when its delivery has ended. The only place that touches it then.
//!
//! | disposition | the file |
//! |---|---|
//! | accepted | is removed |
//! | rejected | goes to `failed/`, its reason file beside it; nothing there is overwritten |
//! | released | stays |
//!
//! A file that was changed while it was delivered stays, whatever was said about its former content.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat, Utc};
use protocol::{hash::QueueId, urls::UploadKind};
use rustix::fs::{CWD, RenameFlags};

use super::{
    disposition::{Disposition, Rejection, printable},
    inspect::Identity,
    name::SpoolName,
    reason_file::ReasonFile,
};

/// The directories of a spool.
#[derive(Debug, Clone)]
pub struct Directories {
    /// What the spool holds.
    pub kind: UploadKind,
    /// The queue.
    pub incoming: PathBuf,
    /// What was rejected.
    pub failed: PathBuf,
}

/// What became of a file.
#[derive(Debug)]
pub enum Settled {
    /// Removed, or gone before.
    Removed,
    /// Moved to `failed/`; the error says why there is no reason file beside it.
    Moved(Option<io::Error>),
    /// Still there.
    Left,
    /// Still there, because it is not what was delivered any more.
    Changed,
}

/// Namesakes in `failed/` that a file is compared with. The next one's number is the time: a node that
/// sends ever other content under one name must not cost ever more, nor keep the spool from moving on.
const COMPARED: u64 = 10;

/// Settles a file by its disposition.
///
/// **Errors**: the file could not be removed or moved; it is where it was.
pub fn settle(
    directories: &Directories,
    name: &OsStr,
    identity: Identity,
    disposition: &Disposition,
    now: DateTime<Utc>,
) -> io::Result<Settled> {
    let path = directories.incoming.join(name);
    let rejection = match disposition {
        Disposition::Released(_) => return Ok(Settled::Left),
        Disposition::Accepted(_) => return remove(&path, identity),
        Disposition::Rejected(rejection) => rejection,
    };
    if let Some(settled) = otherwise(&path, identity)? {
        return Ok(settled);
    }
    let Some(target) = move_to_failed(&path, &directories.failed, name, now)? else {
        return Ok(Settled::Removed);
    };
    let reason = reason_file(directories.kind, name, rejection, now);
    Ok(Settled::Moved(reason.write(&target).err()))
}

/// Removes a file that was accepted, or belongs to one that was, unless it is another one by now.
pub fn remove(path: &Path, identity: Identity) -> io::Result<Settled> {
    if let Some(settled) = otherwise(path, identity)? {
        return Ok(settled);
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(Settled::Removed),
    }
}

/// How it is settled already: it was changed, or is gone.
fn otherwise(path: &Path, identity: Identity) -> io::Result<Option<Settled>> {
    match path.symlink_metadata() {
        Ok(facts) if Identity::of(&facts) != identity => Ok(Some(Settled::Changed)),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(Settled::Removed)),
        Err(e) => Err(e),
    }
}

/// Moves a file without overwriting one with other content. `None`: it is gone.
fn move_to_failed(
    path: &Path,
    failed: &Path,
    name: &OsStr,
    now: DateTime<Utc>,
) -> io::Result<Option<PathBuf>> {
    let by_time = now.timestamp_micros().unsigned_abs().max(COMPARED + 1);
    for number in (1..=COMPARED).chain([by_time]) {
        let target = failed.join(namesake(name, number));
        match rename_new(path, &target) {
            Ok(()) => return Ok(Some(target)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && failed.is_dir() => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if same_content(path, &target).unwrap_or(false) {
                    fs::rename(path, &target)?;
                    return Ok(Some(target));
                }
            }
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{} has a file of this name and time", failed.display()),
    ))
}

/// Renames, unless the target exists.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do both in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
            Err(e) => Err(e),
        },
        result => Ok(result?),
    }
}

/// The name of the n-th file of this name in `failed/`: `x.log`, `x.log~2`, `x.log~3`…
fn namesake(name: &OsStr, number: u64) -> OsString {
    let mut text = name.to_owned();
    if number > 1 {
        let suffix = format!("~{number}");
        if name.len() + suffix.len() > 255 {
            text = QueueId::of_file_name(&name.to_string_lossy()).to_string().into();
        }
        text.push(suffix);
    }
    text
}

/// The name that a file in `failed/` came with: `x.log` for `x.log~2`.
pub fn without_number(name: &str) -> &str {
    match name.rsplit_once('~') {
        Some((text, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => text,
        _ => name,
    }
}

/// Whether two regular files hold the same bytes. Nothing else is opened.
fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (facts, other_facts) = (one.symlink_metadata()?, other.symlink_metadata()?);
    if !facts.is_file() || !other_facts.is_file() || facts.len() != other_facts.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (super::open_regular(one)?, super::open_regular(other)?);
    let (mut left, mut right) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let (read, other_read) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        if left[..read] != right[..other_read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn reason_file(kind: UploadKind, name: &OsStr, rejection: &Rejection, now: DateTime<Utc>) -> ReasonFile {
    let parsed = SpoolName::parse(kind, name).ok();
    let text = name.to_string_lossy();
    ReasonFile {
        reason: rejection.reason.as_str().to_owned(),
        detail: printable(&rejection.detail),
        time: now.to_rfc3339_opts(SecondsFormat::Secs, true),
        queue_id: QueueId::of_file_name(&text).to_string(),
        node_id: parsed.and_then(|name| name.node_id()).map(String::from),
        spool: kind.segment().to_owned(),
        name: text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disposition::{Outcome, Reason, Release};

    const NAME: &str = "2018-08-24T15:55:01+00:00@root.log";

    struct Place {
        _root: tempfile::TempDir,
        directories: Directories,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let directories = Directories {
                kind: UploadKind::RunLog,
                incoming: root.path().join("incoming"),
                failed: root.path().join("failed"),
            };
            fs::create_dir(&directories.incoming).unwrap();
            fs::create_dir(&directories.failed).unwrap();
            Self { _root: root, directories }
        }

        fn put(&self, name: &str, content: &str) -> Identity {
            let path = self.directories.incoming.join(name);
            fs::write(&path, content).unwrap();
            Identity::of(&path.symlink_metadata().unwrap())
        }

        fn settle(&self, name: &str, identity: Identity, disposition: Disposition) -> io::Result<Settled> {
            settle(&self.directories, OsStr::new(name), identity, &disposition, DateTime::UNIX_EPOCH)
        }

        fn names(&self, directory: &Path) -> Vec<String> {
            let entries = fs::read_dir(directory).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn rejected() -> Disposition {
        Disposition::Rejected(Rejection {
            reason: Reason::BadContent,
            detail: "no valid report\u{1b}[1m".into(),
            maybe_incomplete: false,
        })
    }

    #[test]
    fn accepted_goes_and_released_stays() {
        let place = Place::new();
        let identity = place.put(NAME, "x");
        let release =
            Release { outlet_down: true, detail: String::new(), retry_after: None, is_usual: false };
        assert!(matches!(place.settle(NAME, identity, Disposition::Released(release)), Ok(Settled::Left)));
        assert_eq!(place.names(&place.directories.incoming), [NAME]);
        let accepted = || Disposition::Accepted(Outcome::Stored);
        assert!(matches!(place.settle(NAME, identity, accepted()), Ok(Settled::Removed)));
        assert!(place.names(&place.directories.incoming).is_empty());
        assert!(matches!(place.settle(NAME, identity, accepted()), Ok(Settled::Removed)));
    }

    #[test]
    fn what_changed_meanwhile_stays() {
        let place = Place::new();
        let identity = place.put(NAME, "old");
        place.put(NAME, "newer");
        let accepted = Disposition::Accepted(Outcome::Stored);
        assert!(matches!(place.settle(NAME, identity, accepted), Ok(Settled::Changed)));
        assert!(matches!(place.settle(NAME, identity, rejected()), Ok(Settled::Changed)));
        assert_eq!(place.names(&place.directories.incoming), [NAME]);
    }

    #[test]
    fn rejected_goes_to_failed_with_its_reason_and_overwrites_nothing() {
        let place = Place::new();
        for content in ["one", "two", "two", "three"] {
            let identity = place.put(NAME, content);
            assert!(matches!(place.settle(NAME, identity, rejected()), Ok(Settled::Moved(None))));
        }
        let failed = &place.directories.failed;
        let names = [NAME.into(), format!("{NAME}~2"), format!("{NAME}~3")];
        for (name, content) in names.iter().zip(["one", "two", "three"]) {
            assert_eq!(fs::read_to_string(failed.join(name)).unwrap(), content);
            let reason = ReasonFile::read(&failed.join(name)).unwrap().unwrap();
            assert_eq!(
                (reason.reason.as_str(), reason.name.as_str(), reason.node_id.as_deref()),
                ("bad_content", NAME, Some("root"))
            );
            assert_eq!(reason.time, "1970-01-01T00:00:00Z");
            assert!(!reason.detail.contains('\u{1b}'), "{}", reason.detail);
        }
        assert_eq!(place.names(failed).len(), 6);
    }

    #[test]
    fn any_number_of_namesakes_fits_into_failed() {
        let place = Place::new();
        let directories = &place.directories;
        for seconds in 0..30 {
            let identity = place.put(NAME, &seconds.to_string());
            let now = DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
            let settled = settle(directories, OsStr::new(NAME), identity, &rejected(), now);
            assert!(matches!(settled, Ok(Settled::Moved(None))), "{settled:?}");
        }
        assert_eq!(place.names(&directories.failed).len(), 60);
        assert_eq!(place.names(&directories.incoming).len(), 0);
    }

    #[test]
    fn the_number_of_a_namesake_is_no_part_of_the_name() {
        for (name, expected) in
            [("x.log~2", "x.log"), ("x.log", "x.log"), ("x~y.log", "x~y.log"), ("x~", "x~")]
        {
            assert_eq!(without_number(name), expected);
        }
        assert_eq!(namesake(OsStr::new(NAME), 12).to_str().map(without_number), Some(NAME));
    }

    #[test]
    fn links_and_directories_are_moved_unopened() {
        let place = Place::new();
        let at = |name: &str| place.directories.incoming.join(name);
        std::os::unix::fs::symlink("/etc/passwd", at("link.log")).unwrap();
        fs::create_dir(at("dir.log")).unwrap();
        for name in ["link.log", "dir.log"] {
            let identity = Identity::of(&at(name).symlink_metadata().unwrap());
            assert!(matches!(place.settle(name, identity, rejected()), Ok(Settled::Moved(None))), "{name}");
            assert!(place.directories.failed.join(name).symlink_metadata().is_ok());
        }
    }

    #[test]
    fn a_failed_directory_that_is_missing_is_an_error_and_loses_nothing() {
        let place = Place::new();
        fs::remove_dir(&place.directories.failed).unwrap();
        let identity = place.put(NAME, "x");
        assert!(place.settle(NAME, identity, rejected()).is_err());
        assert_eq!(place.names(&place.directories.incoming), [NAME]);
    }
}
