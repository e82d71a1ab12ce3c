// SPDX-License-Identifier: Apache-2.0
//! A look at a file before it is delivered. Never opens anything and never follows a link.

use std::{
    ffi::OsStr,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use protocol::urls::UploadKind;

use super::{
    SpoolFile,
    clock::age,
    disposition::{Reason, Rejection},
    name::SpoolName,
};

/// Which file it is and in which state: if this changes while the file is delivered, then it is not
/// what was delivered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    /// That of a file with these facts.
    pub fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        }
    }
}

/// How it is known that a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody finished it: renamed it into place, closed it after writing, or says so.
    Finished,
    /// It was seen; it may still be written.
    Seen,
}

/// What the look gave.
#[derive(Debug)]
pub enum Finding {
    /// To be delivered.
    Ready(SpoolFile, Identity, Option<SystemTime>),
    /// Not there any more.
    Gone,
    /// Possibly still being written, or published: look again soon.
    TooYoung,
    /// Refused as it stands.
    Refused(Rejection, Identity),
    /// No facts to be had.
    Unreadable(io::Error),
}

/// A file that was merely seen is taken when it was not modified for this long.
pub const SETTLED_AGE: Duration = Duration::from_secs(2);
/// A second hard link is a step in publishing a file for this long, and then a way to plant one.
const LINK_AGE: Duration = Duration::from_secs(10);

/// Looks at one file.
pub fn inspect(
    kind: UploadKind,
    directory: &Path,
    name: &OsStr,
    origin: Origin,
    max_size: u64,
    now: SystemTime,
) -> Finding {
    let path = directory.join(name);
    let facts = match path.symlink_metadata() {
        Ok(facts) => facts,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Finding::Gone,
        Err(e) => return Finding::Unreadable(e),
    };
    let identity = Identity::of(&facts);
    let refused =
        |reason, detail| Finding::Refused(Rejection { reason, detail, maybe_incomplete: false }, identity);
    if !facts.is_file() {
        let what = if facts.is_symlink() {
            "a symbolic link"
        } else if facts.is_dir() {
            "a directory"
        } else {
            "a FIFO, socket or device"
        };
        return refused(Reason::NotAFile, format!("{what}, expected a regular file"));
    }
    let modified = facts.modified().ok();
    // A time in the future comes from a clock that was set back, or from a copy that keeps times:
    // it cannot say that the file is young.
    let younger_than =
        |time: Option<SystemTime>, limit| time.and_then(|time| age(now, time)).is_some_and(|age| age < limit);
    if origin == Origin::Seen && younger_than(modified, SETTLED_AGE) {
        return Finding::TooYoung;
    }
    if facts.nlink() > 1 {
        return match younger_than(changed(&facts), LINK_AGE) {
            true => Finding::TooYoung,
            false => refused(Reason::NotAFile, "a file with other hard links outside the spool".to_owned()),
        };
    }
    let name = match SpoolName::parse(kind, name) {
        Ok(name) => name,
        Err(detail) => return refused(Reason::BadName, detail),
    };
    if facts.size() > max_size {
        return refused(Reason::TooLarge, format!("{} bytes, the limit is {max_size}", facts.size()));
    }
    Finding::Ready(SpoolFile { path, name }, identity, modified)
}

/// When the inode was last changed: set by links and renames, and by nobody at will.
pub fn changed(facts: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(facts.ctime()).ok()?;
    let nanoseconds = u32::try_from(facts.ctime_nsec()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NAME: &str = "2018-08-24T15:55:01+00:00@root.log";

    fn look(directory: &Path, name: &str, origin: Origin, later: Duration) -> Finding {
        let now = SystemTime::now() + later;
        inspect(UploadKind::RunLog, directory, OsStr::new(name), origin, 10, now)
    }

    #[test]
    fn finds_what_is_ready_young_gone_and_unfit() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let soon = Duration::from_secs(3);
        assert!(matches!(look(dir.path(), NAME, Origin::Finished, soon), Finding::Gone));
        fs::write(at(NAME), "x").unwrap();
        assert!(matches!(look(dir.path(), NAME, Origin::Finished, Duration::ZERO), Finding::Ready(..)));
        assert!(matches!(look(dir.path(), NAME, Origin::Seen, Duration::ZERO), Finding::TooYoung));
        assert!(matches!(look(dir.path(), NAME, Origin::Seen, soon), Finding::Ready(..)));
        fs::write(at("big_2018-08-24T15:55:01Z.log"), "more than ten bytes").unwrap();
        fs::write(at("x.log"), "").unwrap();
        fs::create_dir(at("dir.log")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link.log")).unwrap();
        for (name, expected) in [
            ("big_2018-08-24T15:55:01Z.log", Reason::TooLarge),
            ("x.log", Reason::BadName),
            ("dir.log", Reason::NotAFile),
            ("link.log", Reason::NotAFile),
        ] {
            match look(dir.path(), name, Origin::Finished, soon) {
                Finding::Refused(rejection, _) => assert_eq!(rejection.reason, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_second_hard_link_must_go_away_soon() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "x").unwrap();
        fs::hard_link(dir.path().join(NAME), dir.path().join("other")).unwrap();
        assert!(matches!(look(dir.path(), NAME, Origin::Finished, Duration::ZERO), Finding::TooYoung));
        let finding = look(dir.path(), NAME, Origin::Finished, Duration::from_secs(20));
        assert!(matches!(finding, Finding::Refused(r, _) if r.reason == Reason::NotAFile));
    }
}
