// SPDX-License-Identifier: Apache-2.0
//! The container: a root file system that is read-only, in which relayd runs as a user without privileges.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use tests::{Result, http, ports, process::Process, wait};

use crate::{
    built::{debian_with, other},
    machine::ROOT,
};

#[test]
fn the_container_runs_read_only_and_unprivileged() {
    // The mounts are in a namespace of the copy, which goes away with it.
    let Some(debian) = debian_with(&["strip"]).unwrap() else { return };
    let bundle = other("build-rootfs").unwrap();
    let port = ports::free().unwrap();
    fs::write(
        bundle.join("etc/main.conf"),
        ROOT.replace("[general]\n", &format!("[general]\nlisten = \"127.0.0.1:{port}\"\n")),
    )
    .unwrap();
    let mut command = debian.beside("systemd-nspawn");
    command
        .args([
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--read-only",
            "--timezone=off",
            "--kill-signal=SIGTERM",
        ])
        .arg(format!("--machine=container-{port}"))
        .args(["--drop-capability=all", "--no-new-privileges=yes", "--user=rudder-relayd", "--directory"])
        .arg(bundle.join("rootfs"))
        .arg(format!("--bind-ro={}:/opt/rudder/etc/relayd", bundle.join("etc").display()))
        .arg(format!("--bind={}:/var/rudder", bundle.join("data").display()))
        .arg("/opt/rudder/bin/rudder-relayd");
    let mut process = Process::start("container", &mut command, &bundle.join("log")).unwrap();
    wait::until("the API of the container", Duration::from_secs(30), || {
        process.check()?;
        http::get(([127, 0, 0, 1], port).into(), "/rudder/relay-api/1/system/status").map(Some)
    })
    .unwrap();

    let daemon = descendant(process.id()).unwrap();
    let user = fs::metadata(format!("/proc/{daemon}")).unwrap();
    assert_eq!((user.uid(), user.gid()), (10001, 10001));
    let limits = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    assert!(
        limits.contains("CapBnd:\t0000000000000000\n") && limits.contains("NoNewPrivs:\t1\n"),
        "{limits}"
    );
    // The root of the process, and that alone, is read-only.
    let mounts = fs::read_to_string(format!("/proc/{daemon}/mountinfo")).unwrap();
    let options = |place: &str| {
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(place));
        line.and_then(|line| line.split(' ').nth(5)).unwrap_or_default().to_owned()
    };
    assert!(
        options("/").starts_with("ro") && options("/opt/rudder/etc/relayd").starts_with("ro"),
        "{mounts}"
    );
    assert!(options("/var/rudder").starts_with("rw"), "{mounts}");
    assert!(bundle.join("data/relayd/relayd.db").exists());
    assert!(process.terminate(Duration::from_secs(60)).unwrap().success(), "{}", process.log_end());
}

#[test]
fn the_bundle_says_how_it_runs() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/container/config.json"))
        .unwrap();
    let config: serde_json::Value = serde_json::from_str(&text.replace("@ID@", "10001")).unwrap();
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(config["process"]["user"]["uid"], 10001);
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert!(
        config["process"]["capabilities"]
            .as_object()
            .unwrap()
            .values()
            .all(|set| set == &serde_json::json!([]))
    );
}

/// The last of the chain of first children: the daemon itself.
fn descendant(mut process: u32) -> Result<u32> {
    loop {
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
        match children.split_whitespace().next() {
            Some(child) => process = child.parse()?,
            None => return Ok(process),
        }
    }
}
