// SPDX-License-Identifier: Apache-2.0
//! The file that asks for an inventory (protocol 6.2), removed when one that was begun after it was written is sent.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The file as it was when it was seen.
#[derive(Debug)]
pub struct Order {
    file: PathBuf,
    seen: Facts,
}

/// Inode, and time of the last change: different ones are another order.
type Facts = (u64, i64, i64);

impl Order {
    /// The one that is there now, if there is one.
    pub fn given(file: &Path) -> Option<Self> {
        facts(file).map(|seen| Self { file: file.to_owned(), seen })
    }

    /// It has been followed. One that was given meanwhile stays: what it is to tell may be newer.
    pub fn forget(&self) {
        if facts(&self.file) != Some(self.seen) {
            return;
        }
        match fs::remove_file(&self.file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{}: {e}; it asks for an inventory, and will again", self.file.display());
            }
            _ => {}
        }
    }
}

fn facts(file: &Path) -> Option<Facts> {
    let facts = fs::symlink_metadata(file).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn only_the_order_that_was_seen_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("force_inventory");
        assert!(Order::given(&path).is_none());
        let file = File::create(&path).unwrap();
        let first = Order::given(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        first.forget();
        assert!(path.exists(), "given again");
        Order::given(&path).unwrap().forget();
        assert!(!path.exists());
        first.forget();
    }
}
