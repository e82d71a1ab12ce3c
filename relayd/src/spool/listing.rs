// SPDX-License-Identifier: Apache-2.0
//! Reading a directory of any size in small parts. Blocking: for blocking threads.

use std::{
    fs::{self, ReadDir},
    io,
    path::Path,
    sync::Arc,
};

use protocol::urls::UploadKind;

use super::{later::FileName, name::is_considered};

/// A directory being read, kept open between parts so that each name is read once.
#[derive(Debug)]
pub struct Listing {
    entries: ReadDir,
    kind: UploadKind,
}

/// Most names in a part. What is not considered does not count, so that it cannot starve the rest.
const PART: usize = 256;

impl Listing {
    /// Starts at the first entry.
    pub fn open(directory: &Path, kind: UploadKind) -> io::Result<Self> {
        Ok(Self { entries: fs::read_dir(directory)?, kind })
    }

    /// The next names, in directory order; none at the end.
    pub fn next_part(&mut self) -> io::Result<Vec<FileName>> {
        let mut part = Vec::new();
        while part.len() < PART {
            let Some(entry) = self.entries.next() else { break };
            let name = entry?.file_name();
            if is_considered(self.kind, &name) {
                part.push(Arc::from(name));
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn gives_each_considered_name_once_whatever_else_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..600 {
            fs::write(dir.path().join(format!("{i}.log")), "").unwrap();
            fs::write(dir.path().join(format!(".part-{i}.log")), "").unwrap();
            fs::write(dir.path().join(format!("{i}.tmp")), "").unwrap();
        }
        let mut listing = Listing::open(dir.path(), UploadKind::RunLog).unwrap();
        let mut names = HashSet::new();
        loop {
            let part = listing.next_part().unwrap();
            if part.is_empty() {
                break;
            }
            assert!(part.len() <= PART);
            for name in part {
                assert!(names.insert(name));
            }
        }
        assert_eq!(names.len(), 600);
    }
}
