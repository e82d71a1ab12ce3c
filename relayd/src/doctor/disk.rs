// SPDX-License-Identifier: Apache-2.0
//! Room, and that what is renamed can be renamed: each spool is on one file system.

use std::{io, path::Path};

use protocol::urls::UploadKind;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Examined;
use crate::{
    config::RunLogOutput,
    finding::Finding,
    spool::directories,
    status::disk::{FileSystem, file_systems},
};

pub(super) const NAME: &str = "disk";

/// Percent of space from which it is time to look after it.
const FILLING: u8 = 80;
/// Percent of inodes that should be left.
const FEW_INODES: u64 = 5;

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let mut found: Vec<_> = file_systems(x.config).iter().filter_map(room).collect();
    let (run_logs, inventories) = (&x.config.run_logs, &x.config.inventories);
    let mut spools = vec![
        directories(UploadKind::NewInventory, &inventories.spool.directory),
        directories(UploadKind::InventoryUpdate, &inventories.spool.directory),
    ];
    if run_logs.output != RunLogOutput::Disabled {
        spools.insert(0, directories(UploadKind::RunLog, &run_logs.spool.directory));
    }
    found.extend(spools.iter().filter_map(|spool| together(&spool.incoming, &spool.failed)));
    found
}

fn room(system: &FileSystem) -> Option<Finding> {
    let place = system.paths.first()?.display();
    let remedy = "make room, or move the directories to a larger file system; `relayd spool list --failed` shows what \
                  may go";
    if let Some(problem) = &system.problem {
        return Some(Finding::error(NAME, place, problem, remedy));
    }
    if system.used_percent >= FILLING {
        let text = format!("{} % used", system.used_percent);
        return Some(Finding::warning(NAME, place, text, remedy));
    }
    (system.inodes > 0 && system.available_inodes * 100 / system.inodes < FEW_INODES).then(|| {
        let text = format!("{} of {} inodes are left", system.available_inodes, system.inodes);
        Finding::warning(NAME, place, text, remedy)
    })
}

/// Whether files can be renamed from one directory to the other. Two mounts of one file system cannot, either.
fn together(incoming: &Path, failed: &Path) -> Option<Finding> {
    let mounts = mount(incoming).and_then(|one| Ok((one, mount(failed)?)));
    match mounts {
        Ok((one, other)) if one != other => {
            let text = format!(
                "it is on another file system than {}: files cannot be moved there",
                incoming.display()
            );
            let remedy = "mount a file system above both, not at one of them";
            Some(Finding::error(NAME, failed.display(), text, remedy))
        }
        // What is missing, `permissions` says.
        Ok(_) | Err(_) => None,
    }
}

fn mount(path: &Path) -> io::Result<(u32, u32, u64)> {
    let facts = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::BASIC_STATS)?;
    Ok((facts.stx_dev_major, facts.stx_dev_minor, facts.stx_mnt_id))
}
