// SPDX-License-Identifier: Apache-2.0
//! Room on the file systems where this server writes. Blocks.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{StatVfs, statvfs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    api::Outcome,
    config::{Config, DatabaseUrl},
    gateway::disk::{Room, room_of},
};

/// Percent of a disk up to which uploads are taken where there is no gateway: nothing refuses them before.
const HIGH_WATER: u8 = 100;

/// Room where files are written.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// In error when one file system takes no more uploads.
    status: Outcome,
    /// What is wrong with the first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Each file system once.
    file_systems: Vec<FileSystem>,
}

/// A file system.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    /// The directories of this server that are on it.
    pub paths: Vec<PathBuf>,
    /// Its size, in bytes.
    pub total_bytes: u64,
    /// What is left for others than the superuser, in bytes.
    pub available_bytes: u64,
    /// As `df` counts.
    pub used_percent: u8,
    /// Its inodes; 0 when it does not count them.
    pub inodes: u64,
    /// Inodes left for others than the superuser.
    pub available_inodes: u64,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Disk {
    /// Looks at the places of a configuration.
    pub fn of(config: &Config) -> Self {
        let systems = file_systems(config);
        let details = systems.iter().find_map(|system| {
            let path = system.paths.first()?.display();
            system.problem.as_ref().map(|problem| format!("{path}: {problem}"))
        });
        let status = if details.is_some() { Outcome::Error } else { Outcome::Success };
        Self { status, details, file_systems: systems }
    }
}

/// The file systems on which a server with this configuration writes. Places that are not there are left out:
/// whoever needs them says so.
pub fn file_systems(config: &Config) -> Vec<FileSystem> {
    let high_water = config.gateway.as_ref().map_or(HIGH_WATER, |gateway| gateway.high_water_percent);
    let mut found: Vec<(u64, FileSystem)> = Vec::new();
    for path in places(config) {
        let Ok(facts) = path.metadata() else { continue };
        match found.iter_mut().find(|(device, _)| *device == facts.dev()) {
            Some((_, system)) => system.paths.push(path),
            None => found.extend(look(&path, high_water).ok().map(|system| (facts.dev(), system))),
        }
    }
    found.into_iter().map(|(_, system)| system).collect()
}

/// The file system of one place.
pub fn look(path: &Path, high_water: u8) -> io::Result<FileSystem> {
    let stat = statvfs(path)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used.saturating_add(stat.f_bavail).max(1);
    let percent = u128::from(used) * 100 / u128::from(usable);
    Ok(FileSystem {
        paths: vec![path.to_owned()],
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        used_percent: u8::try_from(percent).unwrap_or(100),
        inodes: stat.f_files,
        available_inodes: stat.f_favail,
        problem: problem(&stat, high_water),
    })
}

fn problem(stat: &StatVfs, high_water: u8) -> Option<String> {
    match room_of(stat, high_water) {
        Room::Enough | Room::Elsewhere => None,
        Room::Low => Some(format!("more than {high_water} % used: uploads are refused with 503")),
        Room::Full if stat.f_bavail == 0 => Some("full: uploads are refused with 507".to_owned()),
        Room::Full => Some("no inode is left: uploads are refused with 507".to_owned()),
        Room::ReadOnly => Some("mounted read-only: uploads are refused with 507".to_owned()),
    }
}

fn places(config: &Config) -> Vec<PathBuf> {
    let mut places =
        vec![config.run_logs.spool.directory.clone(), config.inventories.spool.directory.clone()];
    places.push(config.shared_files.path.clone());
    places.extend(config.cache.as_ref().map(|cache| cache.directory.clone()));
    if let (true, DatabaseUrl::Sqlite(file)) = (config.uses_database(), &config.database.url) {
        places.extend(file.parent().map(Path::to_owned));
    }
    places
}
