// SPDX-License-Identifier: Apache-2.0
//! Reading a directory of any size in parts, in the order of names, in bounded memory. Blocking: for blocking
//! threads.
//!
//! Names of run logs begin with the start of the run, so a backlog goes in the order in which it was made
//! (docs/adr/0030).

use std::{
    collections::BinaryHeap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::urls::UploadKind;

use super::{later::FileName, name::is_considered};

/// A directory being read. Each part reads all of it for the lowest names that were not given yet: of what comes
/// meanwhile, only what is higher than those is found.
#[derive(Debug)]
pub struct Listing {
    directory: PathBuf,
    kind: UploadKind,
    most: usize,
    position: Position,
}

#[derive(Debug)]
enum Position {
    Start,
    After(FileName),
    End,
}

/// Most names in a part: some two megabytes. To read a directory again for each is little beside what becomes
/// of so many files. What is not considered does not count, so that it cannot starve the rest.
const PART: usize = 16_384;

impl Listing {
    /// Starts at the lowest name.
    pub fn new(directory: &Path, kind: UploadKind) -> Self {
        Self { directory: directory.to_owned(), kind, most: PART, position: Position::Start }
    }

    /// The next names, ascending; none at the end.
    pub fn next_part(&mut self) -> io::Result<Vec<FileName>> {
        let after = match &self.position {
            Position::Start => None,
            Position::After(name) => Some(name.clone()),
            Position::End => return Ok(Vec::new()),
        };
        let mut lowest: BinaryHeap<FileName> = BinaryHeap::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let is_given = |given: &FileName| name.as_os_str() <= &**given;
            if !is_considered(self.kind, &name) || after.as_ref().is_some_and(is_given) {
                continue;
            }
            if lowest.len() < self.most {
                lowest.push(Arc::from(name));
            } else if let Some(mut highest) = lowest.peek_mut()
                && name.as_os_str() < &**highest
            {
                *highest = Arc::from(name);
            }
        }
        let part = lowest.into_sorted_vec();
        self.position = match part.last() {
            Some(last) if part.len() == self.most => Position::After(last.clone()),
            _ => Position::End,
        };
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

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
            let mut listing = Listing { most, ..Listing::new(dir.path(), UploadKind::RunLog) };
            assert_eq!(rest(&mut listing), (expected.clone(), parts));
            assert!(listing.next_part().unwrap().is_empty());
        }
    }

    #[test]
    fn what_comes_and_goes_meanwhile_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &&str| fs::write(dir.path().join(name), "").unwrap();
        ["b.log", "c.log", "d.log", "e.log", "f.log"].iter().for_each(put);
        let mut listing = Listing { most: 2, ..Listing::new(dir.path(), UploadKind::RunLog) };
        assert_eq!(listing.next_part().unwrap(), ["b.log", "c.log"].map(|name| Arc::from(OsStr::new(name))));
        for gone in ["c.log", "d.log"] {
            fs::remove_file(dir.path().join(gone)).unwrap();
        }
        ["a.log", "g.log"].iter().for_each(put);
        assert_eq!(rest(&mut listing).0, ["e.log", "f.log", "g.log"]);
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(listing.next_part().unwrap().is_empty());
        assert!(Listing::new(dir.path(), UploadKind::RunLog).next_part().is_err());
    }
}
