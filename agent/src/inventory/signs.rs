// SPDX-License-Identifier: Apache-2.0
//! From which a change of the machine is seen at a glance: when the files were changed that most of an inventory
//! is from. Looking takes no more than a few system calls, so the daemon does it often.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::settings::Settings;

/// Files and directories below the root.
const FILES: [&str; 13] = [
    "etc/group",
    "etc/hostname",
    "etc/hosts",
    "etc/os-release",
    "etc/passwd",
    "etc/resolv.conf",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    // Which updates are on offer.
    "var/lib/apt/lists",
    "var/lib/dpkg/status",
    "var/lib/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    // Changes with each start of the machine, and that is when hardware changes.
    "proc/sys/kernel/random/boot_id",
    "opt/rudder/etc/ssl/agent.cert",
];

/// What is seen, in a form that can be compared.
pub fn of(root: &Path, settings: &Settings) -> String {
    let mut seen = env!("CARGO_PKG_VERSION").to_owned();
    for file in FILES {
        match file.starts_with("proc/") {
            // Such files have no times.
            true => seen += &fs::read_to_string(root.join(file)).unwrap_or_default(),
            false => note(&mut seen, &root.join(file)),
        }
    }
    for directory in &settings.paths.hooks {
        note(&mut seen, directory);
        let programs = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut programs: Vec<_> = programs.collect();
        programs.sort();
        programs.iter().for_each(|program| note(&mut seen, program));
    }
    brief(&seen)
}

/// What the offer of updates depends on.
pub fn of_updates(root: &Path) -> String {
    let mut seen = env!("CARGO_PKG_VERSION").to_owned();
    let files = ["etc/apt/preferences", "etc/apt/preferences.d", "var/cache/dnf"];
    for file in files
        .into_iter()
        .chain(FILES.into_iter().filter(|file| file.starts_with("var/lib/") || file.starts_with("usr/")))
    {
        note(&mut seen, &root.join(file));
    }
    brief(&seen)
}

/// Not by OpenSSL: it would be the only use of it in the waiting daemon, and has half a MiB of its own.
fn brief(seen: &str) -> String {
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn note(seen: &mut String, path: &Path) {
    if let Ok(facts) = fs::metadata(path) {
        *seen += &format!("{} {} {} {}\n", path.display(), facts.mtime(), facts.mtime_nsec(), facts.size());
    }
}
