// SPDX-License-Identifier: Apache-2.0
//! The gateway without file descriptors. A process of its own, because the limit is the process's.
#![allow(missing_docs, dead_code, reason = "tests")]

#[path = "gateway/harness.rs"]
mod harness;

use std::{
    fs::File,
    io::{self, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::*;
use rustix::process::{Resource, getrlimit, setrlimit};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Processor time used by this process, from its open `stat` file (proc_pid_stat(5), in ticks of 10 ms).
fn cpu(stat: &File) -> Duration {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).unwrap();
    let text = str::from_utf8(&text[..length]).unwrap();
    let after_name = text.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn running_out_of_files_neither_spins_nor_ends() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
    let gateway = start().await;
    let mut kept = gateway.connect(Some(&gateway.fleet.direct)).await;
    let path = |n| format!("/reports/{}", run_log(DIRECT, n));
    assert_eq!(kept.put(&path(1), "", &gzip(b"x")).await.status, 201);

    let stat = File::open("/proc/self/stat").unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(256);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hogs = Vec::new();
    while let Ok(hog) = TcpStream::connect(gateway.address) {
        hogs.push(hog);
    }
    let (start, before) = (Instant::now(), cpu(&stat));
    let complaints =
        || String::from_utf8(log.0.lock().unwrap().clone()).unwrap().matches("cannot accept").count();
    eventually("it has complained twice", || complaints() >= 2).await;
    // In this order: no complaint is counted that came after the time was taken.
    let told = complaints() as u64;
    let (wall, used) = (start.elapsed(), cpu(&stat) - before);
    assert!(used < wall / 2, "{used:?} of {wall:?}");
    assert!(told <= wall.as_secs() + 2, "{told} in {wall:?}");
    // Those who are in can still say something, and hear that it cannot be done now.
    assert_eq!(kept.put(&path(2), "", &gzip(b"x")).await.status, 503);

    drop(hogs);
    assert_eq!(gateway.put(Some(&gateway.fleet.direct), &path(3), &gzip(b"x")).await.status, 201);
    assert_eq!(kept.put(&path(2), "", &gzip(b"x")).await.status, 201);
    gateway.stop().await;
}
