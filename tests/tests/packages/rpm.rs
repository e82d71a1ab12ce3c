// SPDX-License-Identifier: Apache-2.0
//! The packages for RPM systems, by rpm's own tools, in a root directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tests::{
    Result,
    debian::{Debian, succeed},
};

use crate::{
    built::{OLDER, VERSION, debian_with, output, rpms},
    machine::{DIRECTORIES, DIRECTORIES_OF_AGENT, ROOT, check_modes},
};

const MAIN: &str = "/opt/rudder/etc/relayd/main.conf";

#[test]
fn rpm_packages_live_and_die_as_they_should() {
    let Some(debian) = root_directory().unwrap() else { return };
    let (older, older_agent) = rpms("rpm-older", OLDER).unwrap();
    let (relayd, agent) = rpms("rpm", VERSION).unwrap();
    says_what_it_needs(&debian, &relayd).unwrap();

    rpm(&debian, &["--install", "--test"], &[&older, &older_agent]).unwrap();
    rpm(&debian, &["--install"], &[&older, &older_agent]).unwrap();
    check_modes(&debian, DIRECTORIES).unwrap();
    check_modes(&debian, DIRECTORIES_OF_AGENT).unwrap();
    enabled(&debian, true);
    // Not a file, owner or mode is other than the package says.
    verify(&debian, "relayd", "").unwrap();
    verify(&debian, "relayd-agent", "").unwrap();

    debian.write(MAIN, ROOT).unwrap();
    fs::remove_file(debian.path("/etc/systemd/system/multi-user.target.wants/relayd-agent.service")).unwrap();
    rpm(&debian, &["--upgrade"], &[&relayd, &agent]).unwrap();
    changed_and_kept(&debian, VERSION).unwrap();
    rpm(&debian, &["--upgrade", "--oldpackage"], &[&older, &older_agent]).unwrap();
    changed_and_kept(&debian, OLDER).unwrap();

    debian.write("/var/rudder/reports/incoming/kept", "a run log").unwrap();
    rpm_names(&debian, &["--erase"], &["relayd", "relayd-agent"]).unwrap();
    assert!(!debian.path("/opt/rudder/bin/rudder-relayd").exists());
    assert!(!debian.path("/usr/share/relayd").exists());
    assert_eq!(fs::read_to_string(debian.path(MAIN.to_owned() + ".rpmsave")).unwrap(), ROOT);
    assert!(debian.path("/var/rudder/reports/incoming/kept").exists());
    enabled(&debian, false);
    assert_eq!(rpm_names(&debian, &["--query", "--all"], &[]).unwrap(), "");
}

#[test]
fn an_existing_rpm_gives_way() {
    let Some(debian) = root_directory().unwrap() else { return };
    let (relayd, _) = rpms("rpm-take-over", VERSION).unwrap();
    rpm(&debian, &["--install"], &[&existing_package().unwrap()]).unwrap();
    debian.write(MAIN, ROOT).unwrap();
    rpm(&debian, &["--upgrade"], &[&relayd]).unwrap();
    assert_eq!(
        rpm_names(&debian, &["--query", "--all"], &[]).unwrap(),
        format!("relayd-{VERSION}-1.{}\n", arch())
    );
    assert_eq!(fs::read_to_string(debian.path(MAIN)).unwrap(), ROOT, "the configuration of the site");
    check_modes(&debian, DIRECTORIES).unwrap();
    // The package of before was removed last, and its script has disabled the unit of this name.
    let link = debian.path("/etc/systemd/system/multi-user.target.wants/rudder-relayd.service");
    assert!(fs::symlink_metadata(link).is_ok(), "the service does not begin with the machine any more");
}

fn says_what_it_needs(debian: &Debian, relayd: &Path) -> Result<()> {
    let query = |what: &str| rpm(debian, &["--query", what, "--package"], &[relayd]);
    let requires = query("--requires")?;
    for library in
        ["libssl.so.3()(64bit)", "libcrypto.so.3()(64bit)", "libpq.so.5()(64bit)", "libsqlite3.so.0()(64bit)"]
    {
        assert!(requires.contains(library), "{library} is missing in\n{requires}");
    }
    for what in ["--provides", "--conflicts", "--obsoletes"] {
        let text = query(what)?;
        assert!(text.contains("rudder-relay\n") && text.contains("rudder-server-relay\n"), "{what}: {text}");
    }
    // The accounts come before the files that they own.
    let scripts = query("--scripts")?;
    let before = scripts.split("postinstall").next().unwrap_or_default();
    assert!(before.contains("systemd-sysusers") && before.contains("u rudder-relayd -:rudder"), "{scripts}");
    let configuration = query("--configfiles")?;
    assert!(
        configuration.contains(MAIN) && configuration.contains("/etc/sudoers.d/relayd"),
        "{configuration}"
    );
    Ok(())
}

fn changed_and_kept(debian: &Debian, version: &str) -> Result<()> {
    let installed = rpm_names(debian, &["--query"], &["relayd"])?;
    assert_eq!(installed, format!("relayd-{version}-1.{}\n", arch()));
    assert_eq!(fs::read_to_string(debian.path(MAIN))?, ROOT);
    check_modes(debian, DIRECTORIES)?;
    let disabled = debian.path("/etc/systemd/system/multi-user.target.wants/relayd-agent.service");
    assert!(fs::symlink_metadata(disabled).is_err(), "what the operator disabled is enabled again");
    // Size, digest and time of the file that the operator has changed.
    verify(debian, "relayd", "S.5....T.  c /opt/rudder/etc/relayd/main.conf\n")
}

/// A copy of Debian for `rpm --root`, whose scripts need /proc there.
fn root_directory() -> Result<Option<Debian>> {
    let Some(debian) = debian_with(&["rpm", "rpmbuild"])? else { return Ok(None) };
    succeed(debian.beside("mount").args(["-t", "proc", "proc"]).arg(debian.mounted().join("proc")))?;
    Ok(Some(debian))
}

/// Whether the services begin with the machine.
fn enabled(debian: &Debian, expected: bool) {
    for unit in ["rudder-relayd.service", "relayd-agent.service"] {
        let link = debian.path("/etc/systemd/system/multi-user.target.wants").join(unit);
        assert_eq!(fs::symlink_metadata(&link).is_ok(), expected, "{}", link.display());
    }
}

/// What rpm finds to differ from the package, which is what `expected` says.
fn verify(debian: &Debian, package: &str, expected: &str) -> Result<()> {
    let output = command(debian, &["--verify", "--nodeps"]).arg(package).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    Ok(())
}

fn rpm(debian: &Debian, options: &[&str], packages: &[&Path]) -> Result<String> {
    let mut command = command(debian, options);
    // rpm does not know the packages of Debian, which have what these need.
    if !options.contains(&"--query") {
        command.arg("--nodeps");
    }
    succeed(command.args(packages))
}

fn rpm_names(debian: &Debian, options: &[&str], names: &[&str]) -> Result<String> {
    succeed(command(debian, options).args(names))
}

fn command(debian: &Debian, options: &[&str]) -> std::process::Command {
    let mut command = debian.beside("rpm");
    command.arg("--root").arg(debian.mounted()).args(options);
    command
}

fn arch() -> &'static str {
    std::env::consts::ARCH
}

/// What stands for the existing daemon's package.
fn existing_package() -> Result<PathBuf> {
    let work = output("rpm-existing")?;
    let spec = work.join("rudder-relay.spec");
    fs::write(
        &spec,
        "Name: rudder-relay\nVersion: 9.0.0\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n%description\nx\n\
         %install\nmkdir -p %{buildroot}/opt/rudder/etc/relayd %{buildroot}/opt/rudder/bin\n\
         echo default >%{buildroot}/opt/rudder/etc/relayd/main.conf\necho old >%{buildroot}/opt/rudder/bin/rudder-relayd\n\
         %preun\nsystemctl --no-reload disable rudder-relayd.service || :\n\
         %files\n%config(noreplace) /opt/rudder/etc/relayd/main.conf\n/opt/rudder/bin/rudder-relayd\n",
    )?;
    let mut build = std::process::Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--define"]).arg(format!("_topdir {}", work.display()));
    succeed(build.arg(&spec))?;
    Ok(work.join("RPMS/noarch/rudder-relay-9.0.0-1.noarch.rpm"))
}
