// SPDX-License-Identifier: Apache-2.0
//! The user of the daemon, and what the modes of files let it do. Access control lists are not looked at.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::USUAL_USER;
use crate::finding::Finding;

/// A user, with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    groups: Vec<u32>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Read a file.
    Read,
    /// List a directory.
    List,
    /// Make, rename and remove files in a directory.
    Change,
    /// Write a file.
    Write,
}

/// Why that is not possible.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// It cannot be looked at.
    #[error("{0}")]
    Unknown(io::Error),
    /// The mode of this, or of a directory above, does not let the user.
    #[error("{user} may not {what} {path}, which has mode {mode:04o} and belongs to {uid}:{gid}")]
    Mode {
        /// Whom.
        user: String,
        /// Do what.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Finds the account: the named one, that of a running daemon, or the usual one.
pub fn find(name: Option<&str>, running: Option<u64>) -> Result<Account, Box<Finding>> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = match (name, running) {
        (Some(name), _) => Account::read(&users, &groups, |user, _| user == name),
        (None, Some(uid)) => Account::read(&users, &groups, |_, number| u64::from(number) == uid),
        (None, None) => Account::read(&users, &groups, |user, _| user == USUAL_USER),
    };
    found.ok_or_else(|| {
        let name = name.unwrap_or(USUAL_USER);
        let text = format!("there is no user {name}; what follows is what the current user may do");
        let remedy = "install the package, which makes it, or name the user of the daemon with --user";
        Box::new(Finding::warning("permissions", "/etc/passwd", text, remedy))
    })
}

impl Account {
    /// The user of this process.
    pub fn own() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let groups = groups.into_iter().chain([rustix::process::getegid()]).map(|group| group.as_raw());
        let uid = rustix::process::geteuid().as_raw();
        Self { name: format!("user {uid}"), uid, groups: groups.collect() }
    }

    fn read(users: &str, groups: &str, is_wanted: impl Fn(&str, u32) -> bool) -> Option<Self> {
        let (name, uid, own_group) = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse::<u32>().ok()?;
            is_wanted(name, uid).then(|| (name.to_owned(), uid, group))
        })?;
        let others = groups.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == name).then_some(gid)
        });
        Some(Self { uid, groups: others.chain([own_group]).collect(), name })
    }

    /// Whether the modes let the user do that, through all directories above.
    pub fn may(&self, want: Want, path: &Path) -> Result<Metadata, Denied> {
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.allowed(above, 0o1, "enter")?;
        }
        let (bits, what) = match want {
            Want::Read => (0o4, "read"),
            Want::List => (0o5, "list"),
            Want::Change => (0o7, "change files in"),
            Want::Write => (0o6, "write"),
        };
        self.allowed(path, bits, what)
    }

    fn allowed(&self, path: &Path, bits: u32, what: &'static str) -> Result<Metadata, Denied> {
        let facts = path.metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Denied::Missing,
            _ => Denied::Unknown(error),
        })?;
        let mode = facts.mode() & 0o7777;
        let (uid, gid) = (facts.uid(), facts.gid());
        let given = match () {
            () if self.uid == 0 => 0o7,
            () if self.uid == uid => mode >> 6,
            () if self.groups.contains(&gid) => mode >> 3,
            () => mode,
        };
        if given & bits == bits {
            return Ok(facts);
        }
        Err(Denied::Mode { user: self.name.clone(), what, path: path.to_owned(), mode, uid, gid })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nrelay:x:900:901::/:/bin/false\n";
    const GROUPS: &str = "root:x:0:\nrelay:x:901:\nweb:x:33:www,relay\nnot:x:34:relays\n";

    #[test]
    fn an_account_has_its_own_group_and_those_that_name_it() {
        let account = Account::read(USERS, GROUPS, |name, _| name == "relay").unwrap();
        assert_eq!((account.uid, account.groups), (900, vec![33, 901]));
        assert_eq!(Account::read(USERS, GROUPS, |name, _| name == "nobody"), None);
    }

    #[test]
    fn the_class_of_the_user_decides_alone() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        open(directory.path(), 0o755);
        let file = directory.path().join("f");
        fs::write(&file, "").unwrap();
        let facts = file.metadata().unwrap();
        let account = |uid, group| Account { name: "a".into(), uid, groups: vec![group] };
        let owner = account(facts.uid(), 7);
        let (member, other) = (account(4711, facts.gid()), account(4711, 4711));
        open(&file, 0o604);
        assert!(other.may(Want::Read, &file).is_ok());
        let denied = member.may(Want::Read, &file).unwrap_err().to_string();
        assert!(denied.contains("a may not read") && denied.contains("mode 0604"), "{denied}");
        // Whose tests run as the superuser is let in everywhere.
        assert!(owner.may(Want::Write, &file).is_ok());
        open(directory.path(), 0o700);
        assert!(other.may(Want::Read, &file).unwrap_err().to_string().contains("enter"));
        assert!(matches!(owner.may(Want::Read, &directory.path().join("none")), Err(Denied::Missing)));
    }
}
