// SPDX-License-Identifier: Apache-2.0
//! Lists of files that were read, kept while they are asked for.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{hash::ContentDigest, policy_manifest::FileList};

/// Files in all remembered lists together; some 200 bytes each.
const MOST_FILES: usize = 200_000;
/// What a list takes beside its files, counted in files.
const EACH: usize = 64;

/// The lists used last; the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<Vec<(ContentDigest, Arc<FileList>)>>);

impl Lists {
    /// The list with that digest, remembered or read.
    pub(super) fn get(
        &self,
        digest: ContentDigest,
        read: impl FnOnce() -> io::Result<FileList>,
    ) -> io::Result<Arc<FileList>> {
        if let Some(list) = self.remembered(digest) {
            return Ok(list);
        }
        // Without the lock: two that read the same list at once do no harm.
        let list = Arc::new(read()?);
        self.remember(digest, &list);
        Ok(list)
    }

    fn remembered(&self, digest: ContentDigest) -> Option<Arc<FileList>> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = lists.iter().rposition(|(known, _)| *known == digest)?;
        lists[at..].rotate_left(1);
        lists.last().map(|(_, list)| list.clone())
    }

    fn remember(&self, digest: ContentDigest, list: &Arc<FileList>) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|(known, _)| *known != digest);
        lists.push((digest, list.clone()));
        let mut room = MOST_FILES;
        let keep = lists.iter().rev().take_while(|(_, list)| {
            let fits = room.checked_sub(list.len() + EACH);
            room = fits.unwrap_or(0);
            fits.is_some()
        });
        let forgotten = lists.len() - keep.count();
        lists.drain(..forgotten);
    }
}

#[cfg(test)]
mod tests {
    use protocol::policy_manifest::ManifestFile;

    use super::*;

    fn list(files: usize) -> FileList {
        let digest = ContentDigest::of(b"");
        let file = |n: usize| ManifestFile {
            path: n.to_string().parse().unwrap(),
            size: 0,
            sha256: digest,
            executable: false,
        };
        FileList::new((0..files).map(file).collect()).unwrap()
    }

    #[test]
    fn what_was_not_asked_for_is_forgotten_first() {
        let lists = Lists::default();
        let digest = |n: u8| ContentDigest::of(&[n]);
        let is_remembered = |n| lists.get(digest(n), || Err(io::ErrorKind::NotFound.into())).is_ok();
        for n in 0..4 {
            lists.get(digest(n), || Ok(list(49_000))).unwrap();
        }
        assert!(is_remembered(0));
        lists.get(digest(4), || Ok(list(49_000))).unwrap();
        assert!(!is_remembered(1));
        assert!([0, 2, 3, 4].into_iter().all(is_remembered));
        assert!(lists.get(digest(9), || Err(io::ErrorKind::InvalidData.into())).is_err());
    }
}
