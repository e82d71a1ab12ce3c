// SPDX-License-Identifier: Apache-2.0
//! Reading a directory of any size in parts, in the order of names, in bounded memory. Blocking: for blocking
//! threads.
//!
//! Names of run logs begin with the start of the run, so a backlog goes in the order in which it was made
//! (docs/adr/0030).

use std::{
    collections::BinaryHeap, ffi::OsStr, io, os::fd::OwnedFd, os::unix::ffi::OsStrExt, path::Path, sync::Arc,
};

use protocol::urls::UploadKind;
use rustix::fs::{Dir, Mode, OFlags, open};

use super::{later::FileName, name::is_considered};

/// A directory being read. Each part reads all of it for the lowest names that were not given yet. What comes
/// meanwhile is found if it lies between those and the highest name of the beginning, so that there is an end
/// however much comes.
#[derive(Debug)]
pub struct Listing {
    /// What was opened: another directory in its place is another listing's.
    directory: OwnedFd,
    kind: UploadKind,
    most: usize,
    /// The last name that was given.
    given: Option<FileName>,
    /// The highest name of the beginning.
    highest: Option<FileName>,
    is_at_end: bool,
}

/// Most names in a part: two to five megabytes. To read a directory again for each is little beside what becomes
/// of so many files. What is not considered does not count, so that it cannot starve the rest.
pub const PART: usize = 16_384;

impl Listing {
    /// Starts at the lowest name; `most` names in a part.
    pub fn open(directory: &Path, kind: UploadKind, most: usize) -> io::Result<Self> {
        let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { directory, kind, most, given: None, highest: None, is_at_end: false })
    }

    /// The next names, ascending; none at the end.
    pub fn next_part(&mut self) -> io::Result<Vec<FileName>> {
        if self.is_at_end {
            return Ok(Vec::new());
        }
        let (is_first, mut highest) = (self.highest.is_none(), self.highest.clone());
        let mut lowest: BinaryHeap<FileName> = BinaryHeap::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !is_considered(self.kind, name) || self.given.as_deref().is_some_and(|given| name <= given) {
                continue;
            }
            if highest.as_deref().is_none_or(|highest| name > highest) {
                if !is_first {
                    continue;
                }
                highest = Some(Arc::from(name));
            }
            if lowest.len() < self.most {
                lowest.push(Arc::from(name));
            } else if let Some(mut last) = lowest.peek_mut()
                && name < &**last
            {
                *last = Arc::from(name);
            }
        }
        let part = lowest.into_sorted_vec();
        self.is_at_end = part.len() < self.most;
        (self.given, self.highest) = (part.last().cloned(), highest);
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// All names that are left, and in how many parts.
    fn rest(listing: &mut Listing) -> (Vec<String>, usize) {
        let (mut names, mut parts) = (Vec::new(), 0);
        loop {
            let part = listing.next_part().unwrap();
            if part.is_empty() {
                return (names, parts);
            }
            assert!(part.len() <= listing.most);
            parts += 1;
            names.extend(part.iter().map(|name| name.to_string_lossy().into_owned()));
        }
    }

    #[test]
    fn gives_each_considered_name_once_in_order_whatever_else_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..600 {
            fs::write(dir.path().join(format!("{i:03}.log")), "").unwrap();
            fs::write(dir.path().join(format!(".part-{i}.log")), "").unwrap();
            fs::write(dir.path().join(format!("{i}.tmp")), "").unwrap();
        }
        let expected: Vec<String> = (0..600).map(|i| format!("{i:03}.log")).collect();
        // In one part, in parts with one that is not full, and in full ones alone.
        for (most, parts) in [(PART, 1), (256, 3), (200, 3)] {
            let mut listing = Listing::open(dir.path(), UploadKind::RunLog, most).unwrap();
            assert_eq!(rest(&mut listing), (expected.clone(), parts));
            assert!(listing.next_part().unwrap().is_empty());
        }
    }

    #[test]
    fn what_comes_and_goes_meanwhile_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &&str| fs::write(dir.path().join(name), "").unwrap();
        ["b.log", "c.log", "d.log", "e.log", "f.log"].iter().for_each(put);
        let mut listing = Listing::open(dir.path(), UploadKind::RunLog, 2).unwrap();
        assert_eq!(listing.next_part().unwrap(), ["b.log", "c.log"].map(|name| Arc::from(OsStr::new(name))));
        for gone in ["c.log", "d.log"] {
            fs::remove_file(dir.path().join(gone)).unwrap();
        }
        ["a.log", "ee.log", "g.log"].iter().for_each(put);
        // Another directory has its place: that is for the next listing.
        let moved = dir.path().with_extension("moved");
        fs::rename(dir.path(), &moved).unwrap();
        assert_eq!(rest(&mut listing).0, ["e.log", "ee.log", "f.log"]);
        fs::rename(&moved, dir.path()).unwrap();
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(listing.next_part().unwrap().is_empty());
        assert!(Listing::open(dir.path(), UploadKind::RunLog, 2).is_err());
    }

    #[test]
    fn there_is_an_end_however_much_comes() {
        let dir = tempfile::tempdir().unwrap();
        let mut listing = Listing::open(dir.path(), UploadKind::RunLog, 2).unwrap();
        let mut names = 0;
        for round in 0..20 {
            (0..4).for_each(|n| fs::write(dir.path().join(format!("{round:02}{n}.log")), "").unwrap());
            let part = listing.next_part().unwrap();
            names += part.len();
            if part.is_empty() {
                break;
            }
        }
        assert_eq!(names, 4, "those of the beginning");
    }
}
