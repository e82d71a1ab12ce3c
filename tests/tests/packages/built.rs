// SPDX-License-Identifier: Apache-2.0
//! The packages under test, made once, by the scripts of `packaging/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tests::{
    Result,
    debian::{Debian, succeed},
    programs,
};

/// A version that is older than the one of this source.
pub const OLDER: &str = "0.0.9";

/// The version of this source.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Debian packages, and those of an older version with other defaults in logging.conf.
#[derive(Debug, Clone)]
pub struct Debs {
    pub relayd: PathBuf,
    pub agent: PathBuf,
    pub older_relayd: PathBuf,
    pub older_agent: PathBuf,
}

/// Makes the Debian packages, once.
pub fn debs() -> Result<Debs> {
    static DEBS: OnceLock<std::result::Result<Debs, String>> = OnceLock::new();
    Ok(DEBS.get_or_init(|| build_debs().map_err(|error| error.to_string())).clone()?)
}

fn build_debs() -> Result<Debs> {
    let output = output("deb")?;
    // What packs better takes longer.
    let compression = [("DPKG_DEB_COMPRESSOR_TYPE", "gzip"), ("DPKG_DEB_COMPRESSOR_LEVEL", "1")];
    succeed(script("build-deb").arg(with_libraries_of_system()?).arg(&output).envs(compression))?;
    let package = |name: &str| output.join(format!("{name}_{VERSION}-1_{}.deb", architecture()));
    let (relayd, agent) = (package("relayd"), package("relayd-agent"));
    Ok(Debs { older_relayd: older(&relayd)?, older_agent: older(&agent)?, relayd, agent })
}

/// The same package with an older version, and another default in its logging configuration.
fn older(package: &Path) -> Result<PathBuf> {
    let unpacked = package.with_extension("older");
    succeed(Command::new("dpkg-deb").arg("--raw-extract").args([package, &unpacked]))?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replace(&format!("Version: {VERSION}-1\n"), &format!("Version: {OLDER}-1\n")))?;
    let logging = unpacked.join("opt/rudder/etc/relayd/logging.conf");
    if logging.exists() {
        fs::write(logging, "# the default of an older version\n")?;
    }
    let older = package.with_extension("older.deb");
    succeed(
        Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).args([&unpacked, &older]),
    )?;
    Ok(older)
}

/// Makes the packages for RPM systems of a version. Options go to rpmbuild.
pub fn rpms(name: &str, version: &str) -> Result<(PathBuf, PathBuf)> {
    let output = output(name)?;
    succeed(
        script("build-rpm")
            .arg(with_libraries_of_system()?)
            .arg(&output)
            .args(["--define", "_binary_payload w0.ufdio"])
            .env("VERSION", version),
    )?;
    let package = |name: &str| output.join(format!("{name}-{version}-1.{}.rpm", env::consts::ARCH));
    Ok((package("relayd"), package("relayd-agent")))
}

/// Runs a script of `packaging/` with the programs of this build and an empty directory, which it gives.
pub fn other(name: &str) -> Result<PathBuf> {
    let output = output(name)?;
    succeed(script(name).arg(programs::find("relayd")?.with_file_name("")).arg(&output))?;
    Ok(output)
}

/// A command that runs one of the scripts of `packaging/`.
fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name))
}

/// An empty directory below the target directory: packages are too large for most /tmp.
pub fn output(name: &str) -> Result<PathBuf> {
    let directory = programs::target_directory()?.join("test-packages").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The programs that packages are made from: linked with the libraries of the system. When this build has them linked
/// in, `make system-programs` has made the others.
fn with_libraries_of_system() -> Result<PathBuf> {
    let own = programs::find("relayd")?.with_file_name("");
    let directory = if cfg!(feature = "bundled") { own.join("system") } else { own };
    if directory.join("relayd").is_file() && directory.join("agent").is_file() {
        return Ok(directory);
    }
    Err(format!("no programs in {}: make system-programs", directory.display()).into())
}

fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A copy of Debian, or nothing when this machine lacks one of `tools` or cannot have it; in CI that is an error.
pub fn debian_with(tools: &[&str]) -> Result<Option<Debian>> {
    for tool in tools {
        if let Err(error) = programs::of_system(tool) {
            if env::var_os("CI").is_some() {
                return Err(error);
            }
            eprintln!("skipped, which would be an error in CI: {error}");
            return Ok(None);
        }
    }
    Debian::start()
}
