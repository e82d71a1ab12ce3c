// SPDX-License-Identifier: Apache-2.0
//! What only root may change: programs that run as root have to be that, by whatever path they are reached.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where a file or directory really is, without links, if nobody but root may change it or put another in its place:
/// the directories above it, up to `top`, have to be root's as well.
pub fn trusted(path: &Path, top: &Path) -> Result<PathBuf, String> {
    let said = |path: &Path, e| format!("{}: {e}", path.display());
    let (real, top) = (
        fs::canonicalize(path).map_err(|e| said(path, e))?,
        fs::canonicalize(top).map_err(|e| said(top, e))?,
    );
    for (height, one) in real.ancestors().enumerate() {
        let facts = fs::symlink_metadata(one).map_err(|e| said(one, e))?;
        // In such a directory everybody has files, but nobody can replace those of others.
        let is_shared = height > 0 && facts.uid() == 0 && facts.permissions().mode() & 0o1000 != 0;
        if !is_shared {
            of_root(&facts).map_err(|why| format!("{}: {why}", one.display()))?;
        }
        if one == top {
            break;
        }
    }
    Ok(real)
}

fn of_root(facts: &Metadata) -> Result<(), String> {
    let (mode, group) = (facts.permissions().mode(), facts.gid());
    // Whoever runs the agent without being root can only run what is theirs.
    let own = rustix::process::geteuid().as_raw();
    match () {
        () if facts.uid() != 0 && facts.uid() != own => {
            Err(format!("it belongs to user {}, not to root", facts.uid()))
        }
        () if mode & 0o002 != 0 => Err("others may write to it (chmod o-w)".to_owned()),
        () if mode & 0o020 != 0 && group != 0 => Err(format!("group {group} may write to it (chmod g-w)")),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_all_directories_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().canonicalize().unwrap();
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let above = top.join("above");
        let inner = above.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let (program, link) = (inner.join("program"), top.join("link"));
        fs::write(&program, "").unwrap();
        symlink(&program, &link).unwrap();
        for directory in [&above, &inner] {
            chmod(directory, 0o755);
        }
        chmod(&program, 0o755);
        assert_eq!(trusted(&link, &top), Ok(program.clone()));
        chmod(&above, 0o777);
        let why = trusted(&link, &top).unwrap_err();
        assert_eq!(why, format!("{}: others may write to it (chmod o-w)", above.display()));
        // What is above the top is not looked at.
        assert_eq!(trusted(&program, &inner), Ok(program.clone()));
        if rustix::process::geteuid().is_root() {
            chmod(&above, 0o1777);
            assert_eq!(trusted(&link, &top), Ok(program.clone()));
            chmod(&program, 0o1757);
            assert!(trusted(&link, &top).is_err(), "of the file itself");
        }
        fs::remove_file(&program).unwrap();
        assert!(trusted(&link, &top).is_err());
    }
}
