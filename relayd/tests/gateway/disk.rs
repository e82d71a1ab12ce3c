// SPDX-License-Identifier: Apache-2.0
//! Disks that are full, read-only or nearly full.

use std::{fs, path::Path, process::Command};

use crate::harness::*;

/// A small file system of its own, or `None` where mounting is not permitted.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", options, "none"], directory.path());
        if !mounted {
            eprintln!("skipped: mounting a tmpfs is not permitted here");
        }
        mounted.then_some(Self(directory))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.0.path()));
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let done = Command::new("mount").args(arguments).arg(at).output();
    done.is_ok_and(|output| output.status.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn start_on(mount: &Mount, high_water_percent: u8) -> Running {
    let spool = mount.0.path().join("spool");
    start_in(tempfile::tempdir().unwrap(), spool, |s| s.high_water_percent = high_water_percent).await
}

/// Tries until the cached look at the disk is old: the status in the end.
async fn until_status(gateway: &Running, first: u32, status: u16) -> Reply {
    for n in first..first + 300 {
        let path = format!("/reports/{}", run_log(DIRECT, n));
        let reply = gateway.put(Some(&gateway.fleet.direct), &path, &gzip(b"x")).await;
        if reply.status == status {
            return reply;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("never {status}");
}

#[tokio::test]
async fn a_full_disk_is_for_later() {
    let Some(mount) = Mount::new("size=400k") else { return };
    let gateway = start_on(&mount, 100).await;
    let mut client = gateway.connect(Some(&gateway.fleet.direct)).await;
    // The first look finds room; the write does not.
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    let reply = client.put(&path, "", &gzip(&[7; 600_000])).await;
    assert_eq!(reply.status, 507);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(gateway.files(), [""; 0]);
    // No room at all: refused before a byte of the body.
    let filler = mount.0.path().join("filler");
    let _ = fs::write(&filler, vec![0; 500_000]);
    let reply = until_status(&gateway, 1000, 507).await;
    assert!(reply.header("retry-after").is_some());
    fs::remove_file(filler).unwrap();
    until_status(&gateway, 2000, 201).await;
    gateway.stop().await;
}

#[tokio::test]
async fn no_inodes_is_a_full_disk() {
    let Some(mount) = Mount::new("size=4m,nr_inodes=12") else { return };
    let gateway = start_on(&mount, 100).await;
    until_status(&gateway, 0, 507).await;
    assert!(gateway.files().iter().all(|name| !name.starts_with('.')), "{:?}", gateway.files());
    gateway.stop().await;
}

#[tokio::test]
async fn above_the_high_water_mark_nothing_is_taken() {
    let Some(mount) = Mount::new("size=1m") else { return };
    fs::write(mount.0.path().join("filler"), vec![0; 700_000]).unwrap();
    let gateway = start_on(&mount, 50).await;
    let path = format!("/reports/{}", run_log(DIRECT, 1));
    let reply = gateway.put(Some(&gateway.fleet.direct), &path, &gzip(b"x")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_read_only_disk_is_for_later() {
    let Some(mount) = Mount::new("size=1m") else { return };
    let gateway = start_on(&mount, 100).await;
    until_status(&gateway, 0, 201).await;
    mount.remount("ro");
    let reply = until_status(&gateway, 1000, 507).await;
    assert!(reply.header("retry-after").is_some());
    mount.remount("rw");
    until_status(&gateway, 2000, 201).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_an_earlier_process_left_is_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let reports = directory.path().join("spool/reports");
    fs::create_dir_all(&reports).unwrap();
    fs::write(reports.join(".part-0123"), b"half").unwrap();
    fs::write(reports.join(".davfs.tmp1"), b"another's").unwrap();
    fs::write(reports.join(run_log(DIRECT, 1)), b"whole").unwrap();
    let spool = directory.path().join("spool");
    let gateway = start_in(directory, spool, |_| ()).await;
    assert_eq!(gateway.files(), [".davfs.tmp1".to_owned(), run_log(DIRECT, 1)]);
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_is_accepted_into_a_directory_that_the_spool_does_not_look_at() {
    let gateway = start().await;
    let (incoming, aside) = (gateway.reports(), gateway.reports().with_extension("aside"));
    until_status(&gateway, 0, 201).await;
    fs::rename(&incoming, &aside).unwrap();
    fs::create_dir(&incoming).unwrap();
    let refused = until_status(&gateway, 1000, 503).await;
    assert!(refused.header("retry-after").is_some() && refused.body.contains("restart"), "{refused:?}");
    fs::remove_dir(&incoming).unwrap();
    fs::rename(&aside, &incoming).unwrap();
    until_status(&gateway, 2000, 201).await;
    gateway.stop().await;
}
