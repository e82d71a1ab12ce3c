// SPDX-License-Identifier: Apache-2.0
//! Custom properties: what programs of the operator say of this machine, each a JSON object (protocol 6.6).
//!
//! They run as root, so only root may have written them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tracing::warn;

use super::{super::machine::Machine, trusted::trusted};

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest text of one, in bytes.
const LONGEST: usize = 512 * 1024;

/// Most bytes of all together: servers refuse what is much longer.
const MOST: usize = 900 * 1024;

/// What the programs in these directories say, in the order of their names. What cannot be had is logged, and keeps
/// nothing else from being told.
pub async fn custom_properties(machine: &Machine<'_>, directories: &[PathBuf]) -> Option<Value> {
    let (mut all, mut size) = (vec![], 0);
    for program in directories.iter().flat_map(|directory| programs(machine, directory)) {
        match properties(machine, &program).await {
            Ok((value, length)) if size + length <= MOST => {
                size += length;
                all.push(value);
            }
            Ok(_) => warn!("{}: left out, because all properties together are too long", program.display()),
            Err(why) => warn!("{}: its properties are not in the inventory: {why}", program.display()),
        }
    }
    (!all.is_empty()).then_some(Value::Array(all))
}

/// Executable files of a directory that only root may change, by name.
fn programs(machine: &Machine<'_>, directory: &Path) -> Vec<PathBuf> {
    if !directory.exists() {
        return vec![];
    }
    let directory = match trusted(directory, &machine.path("")) {
        Ok(directory) => directory,
        Err(why) => {
            warn!("{}: no program in it is run: {why}", directory.display());
            return vec![];
        }
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut programs: Vec<_> = entries.map(|entry| entry.path()).collect();
    programs.sort();
    programs.retain(|program| {
        fs::metadata(program).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    });
    programs
}

async fn properties(machine: &Machine<'_>, program: &Path) -> Result<(Value, usize), String> {
    // Looked at only now: the programs before it may have taken minutes. What is looked at is what is started.
    let program = trusted(program, &machine.path("")).map_err(|why| format!("not run: {why}"))?;
    let program = program.to_str().ok_or("its name is not UTF-8")?;
    let lines = machine.tool(&[program], LIMIT, &[0]).await.ok_or("it did not end well")?;
    let text = lines.join("\n");
    if text.len() > LONGEST {
        return Err(format!("{} bytes, more than {LONGEST}", text.len()));
    }
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok((value, text.len())),
        Ok(_) => Err("what it prints is JSON, but not an object".to_owned()),
        Err(e) => Err(format!("what it prints is not JSON: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn hook(directory: &Path, name: &str, script: &str, mode: u32) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn only_good_objects_of_trusted_programs_are_told() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for directory in [&one, &two] {
            fs::create_dir(directory).unwrap();
        }
        hook(&one, "10-site", "echo '{\"site\":'; echo '\"Lyon\"}'", 0o755);
        hook(&one, "20-noise", "echo warning >&2; echo '{\"rack\": 4}'", 0o700);
        hook(&one, "30-writable", "echo '{\"evil\": 1}'", 0o757);
        hook(&one, "40-plain", "echo '{\"off\": 1}'", 0o644);
        hook(&one, "50-failing", "echo '{\"failed\": 1}'; exit 1", 0o755);
        hook(&one, "60-array", "echo '[1]'", 0o755);
        hook(&one, "70-text", "echo site=Lyon", 0o755);
        hook(
            &one,
            "80-long",
            "printf '{\"a\":\"'; head -c 600000 /dev/zero | tr '\\0' x; printf '\"}'",
            0o755,
        );
        let evil = root.path().join("evil");
        fs::create_dir(&evil).unwrap();
        fs::set_permissions(&evil, fs::Permissions::from_mode(0o777)).unwrap();
        hook(&evil, "target", "echo '{\"evil\": 2}'", 0o755);
        symlink(evil.join("target"), one.join("90-link")).unwrap();
        hook(&two, "target", "echo '{\"linked\": true}'", 0o755);
        fs::rename(two.join("target"), root.path().join("target")).unwrap();
        symlink(root.path().join("target"), two.join("10-link")).unwrap();
        hook(&two, "00-late", "echo '{\"last\": true}'", 0o755);
        let stop = CancellationToken::new();
        let machine = Machine::new(root.path(), &stop);
        let found = custom_properties(&machine, &[one.clone(), root.path().join("none"), two]).await;
        assert_eq!(found, Some(json!([{"site": "Lyon"}, {"rack": 4}, {"last": true}, {"linked": true}])));
        fs::set_permissions(&one, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(custom_properties(&machine, &[one]).await, None);
    }
}
