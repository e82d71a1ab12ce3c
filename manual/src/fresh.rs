// SPDX-License-Identifier: Apache-2.0
//! Copies in the source tree of what is generated, and whether they are up to date.

use std::{collections::BTreeSet, fs, path::Path};

use crate::File;

/// Compares the copies in a directory with `files`; with `UPDATE_GOLDEN` in the environment, writes them.
/// `is_ours` says which names in the directory would have to be among them.
///
/// # Panics
/// When one is missing, differs or is left over; the message says how to refresh.
pub fn assert_fresh(directory: &Path, files: &[File], is_ours: impl Fn(&str) -> bool) {
    let wanted: BTreeSet<_> = files.iter().map(|file| file.name.clone()).collect();
    let there: BTreeSet<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_ours(name))
        .collect();
    let path = |name: &str| directory.join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(directory).expect("the directory can be made");
        for file in files {
            fs::write(path(&file.name), &file.text).expect("the copy can be written");
        }
        for left_over in there.difference(&wanted) {
            fs::remove_file(path(left_over)).expect("the copy can be removed");
        }
        return;
    }
    let stale: Vec<_> = files
        .iter()
        .filter(|file| fs::read_to_string(path(&file.name)).ok().as_ref() != Some(&file.text))
        .map(|file| file.name.as_str())
        .chain(there.difference(&wanted).map(String::as_str))
        .collect();
    assert!(
        stale.is_empty(),
        "stale in {}: {}. Refresh with UPDATE_GOLDEN=1 and this test",
        directory.display(),
        stale.join(", ")
    );
}
