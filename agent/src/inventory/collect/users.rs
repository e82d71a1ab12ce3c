// SPDX-License-Identifier: Apache-2.0
//! Users and groups of this machine: those of its files, not of directories that it asks.

use protocol::inventory::system::{LocalGroup, LocalUser};

use super::{super::machine::Machine, said};

/// `LOCAL_USERS`, from passwd(5).
pub fn users(machine: &Machine<'_>) -> Vec<LocalUser> {
    let text = machine.text("etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let [login, _, id, _, name, home, shell]: [&str; 7] =
            line.split(':').collect::<Vec<_>>().try_into().ok()?;
        id.parse::<u32>().ok()?;
        // The rest of the comment is rooms and telephone numbers.
        let name = name.split(',').next().unwrap_or_default();
        Some(LocalUser {
            home: said(home),
            id: said(id),
            login: said(login),
            name: said(name),
            shell: said(shell),
        })
    };
    text.lines().filter_map(user).collect()
}

/// `LOCAL_GROUPS` that have members, from group(5).
pub fn groups(machine: &Machine<'_>) -> Vec<LocalGroup> {
    let text = machine.text("etc/group").unwrap_or_default();
    let group = |line: &str| {
        let [name, _, id, members]: [&str; 4] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
        id.parse::<u32>().ok()?;
        let mut members: Vec<_> = members.split(',').filter_map(said).collect();
        members.sort_unstable();
        (!members.is_empty()).then(|| LocalGroup { id: said(id), members, name: said(name) })
    };
    text.lines().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn lines_of_other_forms_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/bash\n+::::::\nnonsense\na:x:7:7:Ann,room 3:/a:\n";
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nsudo:x:27:b,a\nbad:x:y:a\n").unwrap();
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        let users = users(&machine);
        assert_eq!(users.iter().filter_map(|one| one.login.as_deref()).collect::<Vec<_>>(), ["root", "a"]);
        assert_eq!((users[1].name.as_deref(), users[1].shell.as_deref()), (Some("Ann"), None));
        let groups = groups(&machine);
        let sudo = LocalGroup { id: said("27"), members: vec!["a".into(), "b".into()], name: said("sudo") };
        assert_eq!(groups, [sudo]);
    }
}
