// SPDX-License-Identifier: Apache-2.0
//! The archive for systems without a package.

use std::{fs, path::Path, process::Command};

use tests::{
    Result,
    debian::{Network, succeed},
};

use crate::{
    built::{VERSION, debian_with, other, output},
    machine::{DIRECTORIES, DIRECTORIES_OF_AGENT, ROOT, check_modes, expect, failed, owner_and_mode},
};

const MAIN: &str = "/opt/rudder/etc/relayd/main.conf";

#[test]
fn the_archive_installs_upgrades_and_removes() {
    let Some(debian) = debian_with(&["tar", "strip"]).unwrap() else { return };
    let name = format!("relayd-{VERSION}-{}-linux", std::env::consts::ARCH);
    let archive = other("build-tarball").unwrap().join(format!("{name}.tar.gz"));
    let unpacked = output("archive-unpacked").unwrap();
    succeed(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked)).unwrap();
    if cfg!(feature = "bundled") {
        needs_only_the_c_library(&unpacked.join(&name)).unwrap();
    }
    debian.put(&archive, "/srv/relayd.tar.gz").unwrap();
    let install = format!("/srv/{name}/install");

    let machine = debian.boot(Network::Private).unwrap();
    machine.run("tar", &["-xzf", "/srv/relayd.tar.gz", "-C", "/srv"]).unwrap();
    debian.write("/opt/rudder/etc/ssl/agent.cert", "the certificate of this server\n").unwrap();
    machine.run(&install, &["relayd", "relayd-agent"]).unwrap();
    check_modes(&debian, DIRECTORIES).unwrap();
    check_modes(&debian, DIRECTORIES_OF_AGENT).unwrap();
    expect(&machine, "rudder-relayd", "enabled inactive").unwrap();
    expect(&machine, "relayd-agent", "enabled inactive").unwrap();

    // Missing ones are filled with the server's own certificate; the daemon goes on with the one of them.
    for (file, owner) in [("nodescerts.pem", "rudder-relayd:rudder"), ("policy_server.pem", "root:rudder")] {
        let path = format!("/var/rudder/lib/ssl/{file}");
        assert_eq!(fs::read_to_string(debian.path(&path)).unwrap(), "the certificate of this server\n");
        assert_eq!(owner_and_mode(&debian, &path).unwrap(), (owner.into(), 0o640));
    }

    debian.write(MAIN, ROOT).unwrap();
    machine.run(&install, &["relayd"]).unwrap();
    expect(&machine, "rudder-relayd", "enabled active").unwrap();
    assert_eq!(fs::read_to_string(debian.path(MAIN)).unwrap(), ROOT);
    assert!(debian.path(MAIN.to_owned() + ".new").exists(), "the new default is beside what was changed");

    // An HTTP server comes in front later.
    machine.run("/usr/share/relayd/prepare-front", &["www-data"]).unwrap();
    let spool = owner_and_mode(&debian, "/var/rudder/reports/incoming").unwrap();
    assert_eq!(spool, ("www-data:rudder".into(), 0o770));
    assert_eq!(machine.run("id", &["-Gn", "www-data"]).unwrap(), "www-data rudder-policy-reader\n");
    assert!(debian.path("/opt/rudder/etc/htpasswd-webdav").exists());

    machine.run("systemctl", &["enable", "relayd-gateway.socket"]).unwrap();
    machine.run(&install, &["--remove", "relayd", "relayd-agent"]).unwrap();
    let socket = debian.path("/etc/systemd/system/sockets.target.wants/relayd-gateway.socket");
    assert!(fs::symlink_metadata(socket).is_err(), "the socket of a daemon that is gone is enabled");
    assert!(!debian.path("/opt/rudder/bin").exists() && !debian.path("/usr/share/relayd").exists());
    assert_eq!(fs::read_to_string(debian.path(MAIN)).unwrap(), ROOT);
    assert!(debian.path("/var/rudder/relayd/relayd.db").exists());
    assert_eq!(failed(&machine).unwrap(), "");
    assert_eq!(machine.command(&install).arg("nonsense").output().unwrap().status.code(), Some(2));
}

/// Everything is linked in.
fn needs_only_the_c_library(directory: &Path) -> Result<()> {
    for program in ["relayd/opt/rudder/bin/rudder-relayd", "relayd-agent/opt/rudder/bin/relayd-agent"] {
        let headers = succeed(Command::new("readelf").arg("--dynamic").arg(directory.join(program)))?;
        for library in headers.lines().filter(|line| line.contains("(NEEDED)")) {
            let known = ["[libc.so.6]", "[libm.so.6]", "[libgcc_s.so.1]", "[ld-linux"];
            assert!(known.iter().any(|known| library.contains(known)), "{program}: {library}");
        }
    }
    Ok(())
}
