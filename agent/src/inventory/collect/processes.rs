// SPDX-License-Identifier: Apache-2.0
//! Running processes.

use std::collections::BTreeMap;

use chrono::{DateTime, Local};
use procfs::process::{Process as Running, Stat, all_processes_with_root};
use protocol::inventory::software::Process;

use super::{super::machine::Machine, said};

/// Whether command lines are told, in which some programs take passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// As they are.
    Told,
    /// Only the program: the first word. Programs that set their title put all of it where their name was.
    LeftOut,
}

/// Most processes that are told.
const MOST: usize = 20_000;

/// `PROCESSES`, by id.
pub fn processes(machine: &Machine<'_>, arguments: Arguments) -> Vec<Process> {
    let Ok(all) = all_processes_with_root(machine.path("proc")) else { return vec![] };
    let facts = Facts::read(machine);
    // Each may end while it is looked at.
    let mut found: Vec<_> =
        all.flatten().take(MOST).filter_map(|running| facts.process(&running, arguments)).collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// When the system was started, in seconds of Unix time.
pub fn boot_time(machine: &Machine<'_>) -> Option<i64> {
    let text = machine.text("proc/stat")?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// What is the same for all.
struct Facts {
    users: BTreeMap<u32, String>,
    boot: i64,
    ticks: u64,
    page: u64,
    memory: u64,
    now: i64,
}

impl Facts {
    fn read(machine: &Machine<'_>) -> Self {
        let passwd = machine.text("etc/passwd").unwrap_or_default();
        let user = |line: &str| {
            let mut parts = line.split(':');
            Some((parts.nth(1).and(parts.next())?.parse().ok()?, line.split(':').next()?.to_owned()))
        };
        let meminfo = machine.text("proc/meminfo").unwrap_or_default();
        let total = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            users: passwd.lines().filter_map(user).collect(),
            boot: boot_time(machine).unwrap_or_default(),
            ticks: procfs::ticks_per_second().max(1),
            page: procfs::page_size(),
            memory: total.unwrap_or(0).saturating_mul(1024),
            now: Local::now().timestamp(),
        }
    }

    fn process(&self, running: &Running, arguments: Arguments) -> Option<Process> {
        let stat = running.stat().ok()?;
        let owner = running.uid().ok()?;
        let start = self.boot + (stat.starttime / self.ticks) as i64;
        let busy = (stat.utime + stat.stime) as f64 / self.ticks as f64;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
        let used = stat.rss.saturating_mul(self.page) as f64;
        let start_words = DateTime::from_timestamp(start, 0)
            .map(|at| at.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string());
        Some(Process {
            command: Some(command(running, &stat, arguments).into()),
            cpu: Some(format!("{:.1}", share(busy, (self.now - start).max(1) as f64))),
            memory: Some(format!("{:.1}", share(used, self.memory as f64))),
            pid: Some(stat.pid as u64),
            started: start_words,
            terminal: Some(terminal(&stat)),
            user: Some(self.users.get(&owner).cloned().unwrap_or_else(|| owner.to_string())),
            virtual_memory: Some(stat.vsize / 1024),
        })
    }
}

/// The command line; in brackets the name of what has none, such as threads of the kernel.
fn command(running: &Running, stat: &Stat, arguments: Arguments) -> String {
    let words = running.cmdline().unwrap_or_default();
    let line = match arguments {
        Arguments::Told => said(words.join(" ")),
        Arguments::LeftOut => words.first().and_then(|title| said(program(title))),
    };
    line.unwrap_or_else(|| format!("[{}]", stat.comm))
}

fn program(title: &str) -> &str {
    title.split_whitespace().next().unwrap_or_default()
}

fn terminal(stat: &Stat) -> String {
    match stat.tty_nr() {
        (136..=143, minor) => format!("pts/{minor}"),
        (4, minor @ 0..64) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn this_process_is_among_them_with_and_without_its_arguments() {
        let stop = CancellationToken::new();
        let machine = Machine::new(Path::new("/"), &stop);
        let own = |arguments| {
            let mut all = processes(&machine, arguments).into_iter();
            all.find(|one| one.pid == Some(std::process::id().into())).expect("this process").command.unwrap()
        };
        let words: Vec<_> = std::env::args().collect();
        assert_eq!(own(Arguments::Told).as_str(), words.join(" "));
        assert_eq!(own(Arguments::LeftOut).as_str(), program(&words[0]));
        assert_eq!(program("backup --password=x to /srv"), "backup");
        assert!(boot_time(&machine).unwrap() > 1_000_000_000);
    }
}
