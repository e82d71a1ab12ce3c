// SPDX-License-Identifier: Apache-2.0
//! A Debian system in a directory: files to look at, programs to run in it, and systemd to boot in it.
//!
//! [`image`] makes the root directory once and keeps it below the target directory. Each [`Debian`] is an
//! overlay over it whose changes are in memory. The mounts are in a mount namespace of their own, which a
//! small process holds: it ends with this one, however that ends, and nothing is left behind. From outside the
//! files are seen through `/proc/<process>/root`, which is where [`Debian::path`] points.
//!
//! It needs root and a few programs of Debian: [`Debian::start`] says what is missing.

mod cgroup;
mod image;
mod machine;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

pub use image::PACKAGES;
pub use machine::{Machine, Network};

use crate::{Result, programs};

/// An own copy of a Debian system. Gone when dropped.
#[derive(Debug)]
pub struct Debian {
    name: String,
    /// The holder of the mount namespace. It ends when its standard input is closed.
    holder: Child,
    mount_point: TempDir,
}

impl Debian {
    /// A fresh copy. `None`, with the reason on standard error, when this machine cannot have one; in CI, which
    /// is known by the variable `CI`, that is an error.
    pub fn start() -> Result<Option<Self>> {
        if let Some(reason) = missing() {
            if env::var_os("CI").is_some() {
                return Err(reason.into());
            }
            eprintln!("skipped, which would be an error in CI: {reason}");
            return Ok(None);
        }
        Self::with_changes(None).map(Some)
    }

    /// Another copy, of this one as it is now, which must not be booted.
    pub fn fork(&self) -> Result<Self> {
        Self::with_changes(Some(&self.seen_from_outside("upper")))
    }

    /// `changes`: the upper directory of an overlay.
    fn with_changes(changes: Option<&Path>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("relayd-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mount_point = tempfile::Builder::new().prefix("relayd-debian-").tempdir()?;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", MOUNTS, "sh"])
            .args([mount_point.path(), &image::directory()?])
            .args(changes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the test, which ends the holder.
            .process_group(0)
            .spawn()?;
        let mut ready = String::new();
        let output = holder.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut ready)?;
        if ready != "ready\n" {
            holder.wait()?;
            return Err("the root directory cannot be mounted".into());
        }
        Ok(Self { name, holder, mount_point })
    }

    /// A file of the system, by its absolute path there, as this process sees it. Links in the middle of the path that
    /// are absolute lead out of it: name files by their real place.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        self.seen_from_outside("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Copies a file with its mode into the system; directories are made.
    pub fn put(&self, file: &Path, inside: impl AsRef<Path>) -> Result<()> {
        let target = self.path(inside);
        fs::create_dir_all(target.parent().ok_or("no directory")?)?;
        fs::copy(file, &target).map_err(|e| format!("{} to {}: {e}", file.display(), target.display()))?;
        Ok(())
    }

    /// Writes a file in the system; directories are made.
    pub fn write(&self, inside: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        let target = self.path(inside);
        fs::create_dir_all(target.parent().ok_or("no directory")?)?;
        Ok(fs::write(target, content)?)
    }

    /// A command in the system, which is not booted: it runs as its only process, as root, on the network of this
    /// machine. Standard input and outputs are the caller's to choose.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.nspawn();
        command.args(["--pipe", "--setenv=DEBIAN_FRONTEND=noninteractive", "--", program]);
        command
    }

    /// Runs a command as [`Self::command`] says, to its end.
    ///
    /// # Errors
    /// A status other than 0; the message has all that the command printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        succeed(self.command(program).args(arguments))
    }

    /// Boots systemd in it, and waits until it is up. The copy stays as the machine leaves it.
    pub fn boot(&self, network: Network) -> Result<Machine> {
        Machine::boot(self, network)
    }

    fn nspawn(&self) -> Command {
        let mut command = self.beside("systemd-nspawn");
        command.args(["--quiet", "--register=no", "--keep-unit", "--machine"]).arg(&self.name);
        command.arg("--directory").arg(self.mount_point.path().join("root"));
        command
    }

    /// A program of this machine that sees the mounts: the root directory is at [`Self::mounted`].
    pub fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Where the root directory is for programs of [`Self::beside`].
    pub fn mounted(&self) -> PathBuf {
        self.mount_point.path().join("root")
    }

    fn seen_from_outside(&self, directory: &str) -> PathBuf {
        let mount_point = self.mount_point.path();
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(mount_point.strip_prefix("/").unwrap_or(mount_point))
            .join(directory)
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // The namespace and all that is mounted in it end with the holder.
        let _ = self.holder.wait();
    }
}

/// `$1`: an empty directory; `$2`: the root directory below; `$3`: changes to begin with. nspawn leaves directories
/// in /run, hence the first mount.
const MOUNTS: &str = r#"
set -e
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
[ $# -lt 3 ] || cp -a "$3/." "$1/upper/"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
echo ready
exec cat >/dev/null
"#;

/// Runs a command to its end, and gives its standard output.
///
/// # Errors
/// A status other than 0; the message has all that it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Err(format!("{:?}: {}\n{out}{err}", command.get_args().collect::<Vec<_>>(), output.status).into())
}

/// What this machine lacks.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount and boot a root directory".to_owned());
    }
    let missing: Vec<_> = ["mmdebstrap", "systemd-nspawn", "unshare", "nsenter"]
        .into_iter()
        .filter(|program| programs::of_system(program).is_err())
        .collect();
    (!missing.is_empty())
        .then(|| format!("not installed: {} (tests/install-dependencies installs them)", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_separate_and_go_away() {
        let Some(debian) = Debian::start().unwrap() else { return };
        debian.write("/srv/one", "1").unwrap();
        assert_eq!(debian.run("cat", &["/srv/one"]).unwrap(), "1");
        let error = debian.run("cat", &["/srv/none"]).unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");

        let fork = debian.fork().unwrap();
        fork.write("/srv/two", "2").unwrap();
        assert!(fork.path("/srv/one").exists() && !debian.path("/srv/two").exists());

        let (files, mount_point) = (fork.path("/"), fork.mount_point.path().to_owned());
        drop(fork);
        assert!(!files.exists() && !mount_point.exists());
    }

    #[test]
    fn boots() {
        let Some(debian) = Debian::start().unwrap() else { return };
        let machine = debian.boot(Network::Private).unwrap();
        assert_eq!(machine.run("systemctl", &["list-units", "--failed", "--no-legend"]).unwrap(), "");
        assert_eq!(machine.run("systemctl", &["is-active", "systemd-journald"]).unwrap(), "active\n");
        machine.power_off().unwrap();
    }
}
