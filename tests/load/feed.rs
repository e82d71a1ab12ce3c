// SPDX-License-Identifier: Apache-2.0
//! Run logs into a spool directory: written aside, renamed in, as an httpd in front does.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tests::{
    Result,
    server::Server,
    simulated::Packed,
    site::{self, waiting},
    wait,
};

/// How long all of a spool may take to drain.
const PATIENCE: Duration = Duration::from_secs(600);

/// Puts one file in.
pub fn put(incoming: &Path, log: &Packed) -> Result<()> {
    site::spool(incoming, &log.name, &log.content)
}

/// Puts all files in, keeping at most `most` of them waiting; returns when all are gone, with the time it took.
pub fn drain_live(server: &mut Server, logs: &[Packed], most: usize) -> Result<Duration> {
    let incoming = server.incoming();
    let start = Instant::now();
    for chunk in logs.chunks(most / 4) {
        wait::until_true("the spool to drain", PATIENCE, || {
            server.check()?;
            Ok(waiting(&incoming)? + chunk.len() <= most)
        })?;
        for log in chunk {
            put(&incoming, log)?;
        }
    }
    wait_empty(server)?;
    Ok(start.elapsed())
}

/// Waits until the spool is empty, telling the progress.
pub fn wait_empty(server: &mut Server) -> Result<()> {
    let incoming = server.incoming();
    let mut told = Instant::now();
    wait::until_true("the spool to drain", PATIENCE, || {
        server.check()?;
        let left = waiting(&incoming)?;
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            crate::progress(&format!("{left} files left"));
        }
        Ok(left == 0)
    })
}
