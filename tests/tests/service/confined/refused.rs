// SPDX-License-Identifier: Apache-2.0
//! What the unit refuses: to the daemon as it runs, and to anything else in its place.
//!
//! The trials are a service from the same unit file whose command is a shell script, with lines of Perl for system
//! calls: they have the user, the files and the system calls of the daemon, and mean harm.

use std::{collections::BTreeSet, fs};

use tests::Result;

use super::World;
use crate::installed::{DAEMON, packaged};

/// Where the daemon writes. Below each of them as well; nowhere else.
const WRITABLE: [&str; 12] = [
    "/var/rudder/reports/incoming",
    "/var/rudder/reports/failed",
    // A spool of the test.
    "/var/rudder/reports/relay",
    "/var/rudder/inventories",
    "/var/rudder/shared-files",
    "/var/rudder/relayd",
    "/var/rudder/lib/relay",
    "/var/rudder/lib/ssl",
    "/var/rudder/lib/ssl/shared",
    "/run/relayd-trial",
    // Its own, empty, and gone with it.
    "/tmp",
    "/var/tmp",
];

impl World {
    /// The process that runs is the one that is restricted.
    pub(super) fn is_confined(&self) -> Result<()> {
        let main = self.installed.property("MainPID")?;
        let status = self.installed.sh(&format!("cat /proc/{main}/status"))?;
        for line in
            ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"]
        {
            assert!(status.contains(line), "{line} in {status}");
        }
        let mounts = self.installed.sh(&format!("cat /proc/{main}/mountinfo"))?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).ok_or("no root")?;
        assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")), "{root}");
        Ok(())
    }

    /// All directories of the machine are tried.
    pub(super) fn writes_elsewhere_are_refused(&self) -> Result<()> {
        // /proc and /sys have no files to make; what can be changed in them is tried below.
        let find = "find / \\( -path /proc -o -path /sys \\) -prune -o -type d -writable -print 2>/dev/null";
        let found = self.trial(find)?;
        let found: BTreeSet<&str> = found.lines().collect();
        let is_below = |path: &str, place: &str| {
            path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        for path in &found {
            let allowed = WRITABLE.iter().any(|place| is_below(path, place));
            assert!(allowed, "{path} is writable");
        }
        for place in WRITABLE {
            assert!(found.contains(place), "{place} is not writable: {found:?}");
        }
        // The directory is open to all, as others can see; and a write says what a search only asks.
        self.installed.sh("runuser -u rudder-relayd -- touch /srv/open/by-another")?;
        let files = [
            "/srv/open/x",
            "/etc/x",
            "/opt/rudder/etc/relayd/main.conf",
            DAEMON,
            "/var/rudder/x",
            "/var/log/x",
            "/root/x",
            "/home/x",
            "/usr/x",
            "/dev/x",
            "/dev/shm/x",
            "/run/x",
            "/run/relayd/x",
            "/run/lock/x",
        ];
        let lines = files.map(|file| format!("echo x >> {file}"));
        for (file, succeeded) in files.iter().zip(self.attempts(&lines)?) {
            assert!(!succeeded, "{file} could be written");
        }
        let succeeded =
            self.attempts(&["echo x > /var/rudder/relayd/trial", "echo x > /tmp/x"].map(str::to_owned))?;
        assert_eq!(succeeded, [true, true], "an attempt never succeeds");
        assert!(!self.installed.debian.path("/srv/open/x").exists());
        let main = fs::read_to_string(self.installed.debian.path("/opt/rudder/etc/relayd/main.conf"))?;
        assert!(!main.ends_with("x\n"));
        Ok(())
    }

    /// System calls, privileges, other processes, devices, kernel settings.
    pub(super) fn the_kernel_is_out_of_reach(&self) -> Result<()> {
        let harm = [
            ("mount", "perl -e 'exit(syscall(165, \"none\", \"/tmp\", \"tmpfs\", 0, 0) == -1)'"),
            ("unshare a user namespace", "perl -e 'exit(syscall(272, 0x10000000) == -1)'"),
            ("ptrace", "perl -e 'exit(syscall(101, 16, 1, 0, 0) == -1)'"),
            ("set the clock", "perl -e 'exit(syscall(227, 0, pack(\"qq\", 0, 0)) == -1)'"),
            ("load a module", "perl -e 'exit(syscall(313, 0, \"\", 0) == -1)'"),
            ("map memory to write and execute", "perl -e 'exit(syscall(9, 0, 4096, 7, 0x22, -1, 0) == -1)'"),
            ("change the personality", "perl -e 'exit(syscall(135, 8) == -1)'"),
            ("open a packet socket", "perl -e 'exit(!socket(my $s, 17, 3, 0))'"),
            ("open a netlink socket", "perl -e 'exit(!socket(my $s, 16, 3, 0))'"),
            (
                "listen on port 80",
                "perl -MSocket -e 'socket(my $s, AF_INET, SOCK_STREAM, 0) or die; exit(!bind($s, sockaddr_in(80, INADDR_LOOPBACK)))'",
            ),
            ("become root with sudo", "sudo -n true"),
            ("make a set-user-ID program", "cp /bin/true /tmp/t && chmod u+s /tmp/t"),
            ("see other processes", "test -e /proc/1/status"),
            ("read passwords", "cat /etc/shadow"),
            ("read the key of the machine", "cat /var/rudder/cfengine-community/ppkeys/localhost.priv"),
            ("change a kernel setting", "echo 1 > /proc/sys/vm/drop_caches"),
            ("see devices", "ls /dev/mem /dev/kmsg /dev/console"),
            ("see home directories", "ls /root"),
        ];
        let lines = harm.map(|(_, line)| line.to_owned());
        for ((what, _), succeeded) in harm.iter().zip(self.attempts(&lines)?) {
            assert!(!succeeded, "it can {what}");
        }
        // What must work, so that the attempts above fail for the right reason.
        let fine = [
            "perl -MSocket -e 'exit(!socket(my $s, AF_INET6, SOCK_STREAM, 0))'",
            "perl -e 'exit(syscall(9, 0, 4096, 3, 0x22, -1, 0) == -1)'",
            "test -e /proc/self/status",
            "cp /bin/true /tmp/t",
        ];
        assert_eq!(self.attempts(&fine.map(str::to_owned))?, [true; 4]);
        Ok(())
    }

    /// Runs lines of the shell in place of the daemon: which of them succeeded.
    fn attempts(&self, lines: &[String]) -> Result<Vec<bool>> {
        let script: String = lines
            .iter()
            .map(|line| format!("if ( {line} ) >/dev/null 2>&1; then echo yes; else echo no; fi\n"))
            .collect();
        let said = self.trial(&script)?;
        let succeeded: Vec<bool> = said.lines().map(|line| line == "yes").collect();
        match succeeded.len() == lines.len() {
            true => Ok(succeeded),
            false => Err(format!("{} attempts, but: {said}", lines.len()).into()),
        }
    }

    /// Runs a script of the shell in place of the daemon, and gives what it printed.
    fn trial(&self, script: &str) -> Result<String> {
        let unit = packaged("rudder-relayd.service")?
            .replace("Type=notify\n", "Type=oneshot\n")
            .replace("WatchdogSec=60s\n", "")
            .replace("Restart=on-failure\n", "")
            .replace("RuntimeDirectory=relayd\n", "RuntimeDirectory=relayd-trial\n")
            .replace(
                &format!("ExecStart={DAEMON}\n"),
                "ExecStart=/bin/sh /srv/trial.sh\nStandardOutput=file:/srv/trial.out\nStandardError=inherit\n",
            );
        assert!(unit.contains("/srv/trial.sh") && unit.contains("oneshot"), "the unit has changed: {unit}");
        let debian = &self.installed.debian;
        debian.write("/etc/systemd/system/trial.service", unit)?;
        debian.write("/srv/trial.sh", script)?;
        debian.write("/srv/trial.out", "")?;
        // How it ends is of no interest.
        self.installed.try_sh("systemctl daemon-reload && systemctl start trial.service")?;
        Ok(String::from_utf8_lossy(&fs::read(debian.path("/srv/trial.out"))?).into_owned())
    }
}
