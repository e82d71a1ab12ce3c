// SPDX-License-Identifier: Apache-2.0
//! The root directory that all copies share: a minimal Debian of the release of this machine, whose libraries the
//! built programs are linked with.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Result, programs};

/// What is in it beside the essential packages: systemd, the libraries of the programs, and what
/// the packages depend on or tests use.
pub const PACKAGES: &[&str] = &[
    "ca-certificates",
    "curl",
    "iproute2",
    "libpq5",
    "libsqlite3-0",
    "libssl3",
    "openssl",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
];

/// The directory, which is made when it is not there (20 s, most of it unpacking). Nobody may write to it.
pub fn directory() -> Result<PathBuf> {
    let release = release()?;
    let cache = programs::target_directory()?.join("debian");
    fs::create_dir_all(&cache)?;
    let directory = cache.join(format!("{release}-{:08x}", fingerprint()));
    // Tests run as threads and as processes: one makes it, the others wait.
    let lock = File::create(cache.join(".lock"))?;
    lock.lock()?;
    if !directory.is_dir() {
        make(&release, &directory)?;
    }
    Ok(directory)
}

fn make(release: &str, directory: &Path) -> Result<()> {
    let part = directory.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let log = directory.with_extension("log");
    let output = File::create(&log)?;
    let status = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--dpkgopt=force-unsafe-io", "--aptopt=Acquire::Retries \"3\""])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(release)
        .arg(&part)
        .arg(mirror(release)?)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    if !status.success() {
        return Err(format!("mmdebstrap: {status}\n{}", fs::read_to_string(&log)?).into());
    }
    Ok(fs::rename(part, directory)?)
}

/// Debian's name of the release of this machine.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release")?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim_matches('"'));
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some("debian"), Some(name)) => Ok(name.to_owned()),
        _ => Err("this machine is not a release of Debian (/etc/os-release)".into()),
    }
}

/// Where apt of this machine gets that release from.
fn mirror(release: &str) -> Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let output = Command::new("apt-get").args(format).arg(format!("Codename: {release}")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("http://deb.debian.org/debian").to_owned())
}

/// Another list of packages is another directory.
fn fingerprint() -> u32 {
    let bytes = PACKAGES.iter().flat_map(|name| name.bytes().chain([0]));
    // FNV-1a.
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
