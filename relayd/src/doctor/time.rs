// SPDX-License-Identifier: Apache-2.0
//! The clock: does somebody keep it right, and do others agree?

use std::{fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};

use super::Examined;
use crate::{
    finding::{Finding, TOLERATED_BETWEEN_CLOCKS as TOLERATED},
    status::date,
};

pub(super) const NAME: &str = "time";

/// Differences that may be of the network.
const SMALL: TimeDelta = TimeDelta::seconds(30);
/// Programs that keep clocks right, as the kernel has their names (15 characters).
const KEEPERS: [&str; 6] = ["systemd-timesyn", "chronyd", "ntpd", "openntpd", "ptp4l", "VBoxService"];

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let now = Utc::now();
    let mut found: Vec<_> = future(x.directory, now).into_iter().collect();
    for clock in &x.clocks {
        let apart = (clock.there - clock.here).abs();
        if apart <= SMALL {
            continue;
        }
        let text = format!("here it is {}, there {}", date(clock.here), date(clock.there));
        let remedy = "set the wrong clock right, and keep it so: `timedatectl set-ntp true`";
        found.push(match apart > TOLERATED {
            true => Finding::error(NAME, &clock.of, text, remedy),
            false => Finding::warning(NAME, &clock.of, text, remedy),
        });
    }
    if !is_kept() {
        let text = "no program keeps the clock right (systemd-timesyncd, chrony, ntpd)";
        let remedy = "`timedatectl set-ntp true`, or install chrony; in a container the host has to";
        found.push(Finding::warning(NAME, "this machine", text, remedy));
    }
    found
}

/// A configuration that was written later than now was written with another clock.
fn future(directory: &Path, now: DateTime<Utc>) -> Option<Finding> {
    let main = directory.join("main.conf");
    let written = DateTime::<Utc>::from(main.metadata().ok()?.modified().ok()?);
    (written - now > TOLERATED).then(|| {
        let text = format!("it was written at {}, but now it is {}", date(written), date(now));
        let remedy = "see if the clock of this machine is behind: `timedatectl`";
        Finding::error(NAME, main.display(), text, remedy)
    })
}

fn is_kept() -> bool {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return true;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    names.into_iter().any(|name| KEEPERS.contains(&name.trim()))
}
