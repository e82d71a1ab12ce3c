// SPDX-License-Identifier: Apache-2.0
//! Where the built programs are: beside the test or program that asks, in `target/<profile>/`.

use std::{env, path::PathBuf};

use crate::Result;

/// The path of one of our programs, such as `relayd` or `agent`.
pub fn find(name: &str) -> Result<PathBuf> {
    let program = directory()?.join(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "{} is not there: build all programs first (`make build`, or `cargo build --workspace` with the profile and features of this run)",
        program.display()
    )
    .into())
}

/// The target directory of cargo, where tests may keep what is costly to make.
pub fn target_directory() -> Result<PathBuf> {
    Ok(directory()?.parent().ok_or("this program is not in a target directory")?.to_owned())
}

/// `target/<profile>/`.
fn directory() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let directory = own.parent().ok_or("this program has no directory")?;
    // Test programs live one level below, in `deps/`.
    let directory =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    Ok(directory.to_owned())
}

/// A program of the system, looked up in PATH, `/usr/sbin` and the usual directories of PostgreSQL.
pub fn of_system(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut postgres: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|v| v.path().join("bin")).collect())
        .unwrap_or_default();
    postgres.sort_by_key(|bin| bin.parent().and_then(|v| v.file_name()?.to_str()?.parse::<u32>().ok()));
    env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .chain(postgres.into_iter().rev())
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("{name} is not installed: `make test` installs what the tests need").into())
}
