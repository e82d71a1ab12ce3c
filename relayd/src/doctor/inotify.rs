// SPDX-License-Identifier: Apache-2.0
//! What the kernel allows for watching directories. Without notifications files are found by sweeps alone, later.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::Examined;
use crate::finding::Finding;

pub(super) const NAME: &str = "inotify";

/// Where the limits are.
const LIMITS: &str = "/proc/sys/fs/inotify";
/// Instances and watches that the daemon takes: one for each spool.
const NEEDED: u64 = 3;
/// Events that may wait: fewer are lost when many files come at a time, which costs sweeps.
const EVENTS: u64 = 4096;

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let runs = x.daemon.is_ok();
    let used = if runs { 0 } else { instances_of(x.account.uid) };
    let limit =
        |name: &str| fs::read_to_string(Path::new(LIMITS).join(name)).ok()?.trim().parse::<u64>().ok();
    let limits =
        [("max_user_instances", NEEDED + used), ("max_user_watches", NEEDED), ("max_queued_events", EVENTS)];
    let low = limits.iter().filter_map(|(name, wanted)| {
        let has = limit(name)?;
        judge(name, has, *wanted, used)
    });
    low.collect()
}

fn judge(name: &str, has: u64, wanted: u64, used: u64) -> Option<Finding> {
    let place = format!("{LIMITS}/{name}");
    let raise =
        |to: u64| format!("`sysctl -w fs.inotify.{name}={to}`, and the same in a file in /etc/sysctl.d");
    match name {
        _ if has >= wanted => None,
        "max_queued_events" => {
            let text =
                format!("{has} events may wait: with many files at a time some are found later, by sweeps");
            Some(Finding::warning(NAME, place, text, raise(16_384)))
        }
        _ => {
            let taken = if used > 0 { format!(", {used} are taken") } else { String::new() };
            let text =
                format!("{has} are allowed{taken}: files would be found by sweeps only, seconds later");
            Some(Finding::error(NAME, place, text, raise(wanted.max(128))))
        }
    }
}

/// Instances of a user's programs, as far as one may look.
fn instances_of(uid: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|process| process.metadata().is_ok_and(|facts| facts.uid() == uid));
    let open =
        own.flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten());
    let instances = open.filter(|file| {
        fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:inotify")
    });
    instances.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn limits_that_are_too_low_are_said_with_the_command_that_raises_them() {
        assert_eq!(judge("max_user_watches", 3, 3, 0), None);
        let low = judge("max_user_instances", 128, 129, 126).unwrap();
        assert!(low.level == Level::Error && low.text.contains("126 are taken"), "{low:?}");
        assert!(low.remedy.unwrap().contains("fs.inotify.max_user_instances=129"));
        assert_eq!(judge("max_queued_events", 16, EVENTS, 0).unwrap().level, Level::Warning);
    }
}
