// SPDX-License-Identifier: Apache-2.0
//! Control groups: one for each machine. systemd calls its groups after units; machines in the same one would empty
//! and remove those of each other.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::wait;

const PATIENCE: Duration = Duration::from_secs(5);

/// A control group, in each hierarchy that systemd uses here. Removed when dropped, if nothing runs in it any more.
#[derive(Debug)]
pub(super) struct Group(Vec<PathBuf>);

/// Moves itself into the groups before `--`, then becomes the command after it.
const MOVE: &str =
    r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;

impl Group {
    /// Makes one below that of this process.
    pub(super) fn create(name: &str) -> io::Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = groups.lines().filter_map(|line| {
            let (hierarchy, path) = line.split_once(":/")?;
            let mount = match hierarchy.split_once(':')? {
                ("0", "") => ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"],
                (_, "name=systemd") => ["/sys/fs/cgroup/systemd", ""],
                _ => return None,
            };
            let mount = mount.into_iter().find(|mount| Path::new(mount).join("cgroup.procs").exists())?;
            Some(Path::new(mount).join(path).join(name))
        });
        let group = Self(own.collect());
        group.0.iter().try_for_each(fs::create_dir_all)?;
        Ok(group)
    }

    /// The same command, in this group.
    pub(super) fn command(&self, command: &Command) -> Command {
        let mut moved = Command::new("sh");
        moved.args(["-c", MOVE, "sh"]).args(&self.0).arg("--");
        moved.arg(command.get_program()).args(command.get_args());
        moved
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were killed with their machine are on their way out still.
        let _ = wait::until_true("the control groups to be empty", PATIENCE, || {
            self.0.iter().for_each(|directory| remove(directory));
            Ok(!self.0.iter().any(|directory| directory.exists()))
        });
    }
}

/// Its files are the kernel's: only directories are removed.
fn remove(directory: &Path) {
    for below in fs::read_dir(directory).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&below.path());
        }
    }
    let _ = fs::remove_dir(directory);
}
