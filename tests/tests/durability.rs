// SPDX-License-Identifier: Apache-2.0
//! What "acknowledged" means: the file is whole and there after a power cut, and a disk that fails to
//! say so ends the daemon.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use tests::{
    Result,
    client::{Connection, blocking, connector, upload_all, upload_stubbornly},
    judge::Judge,
    ports, programs,
    server::Server,
    simulated::{self, Packed},
    site::{Site, wait_drained, waiting},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(28);

/// C5: an fsync error means that nobody knows what is on the disk.
#[test]
fn a_failed_fsync_is_never_acknowledged_and_ends_the_daemon() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let machines = site.add_machines(&relay.node_id, 1)?;
    let mut root = site.prepare_root(site.sqlite())?;
    let mut relay = site.prepare_relay(&relay, &root, root.gateway().port())?;
    let logs = simulated::many(&machines, 20, simulated::USUAL_ROWS, Utc::now())?;
    let (address, pin) = (relay.gateway(), relay.key_hash().clone());
    let trace = site.directory().join("trace");
    // It makes its directories last at the start, which is not what is to fail.
    relay.set("policies.cache.enabled", "false");
    relay.run_under(&[
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        &trace.display().to_string(),
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO:when=1",
    ]);
    relay.start()?;
    // An answer that is no 2xx, or none at all.
    let first = upload_all(address, &machines[0], &pin, &logs[..1]);
    assert!(!first.as_ref().is_ok_and(|statuses| statuses[0] < 300), "{first:?}");
    let end = relay.wait_end(PATIENCE)?;
    assert_eq!(end.code(), Some(1), "{}", relay.log_end());
    assert!(relay.log().contains("fsync"), "{}", relay.log_end());
    let tried = fs::read_to_string(&trace)?.lines().filter(|line| line.contains("fsync(")).count();
    assert_eq!(tried, 1, "a failed fsync must not be tried again");

    relay.run_under(&[]);
    relay.start()?;
    root.start()?;
    upload_stubbornly(address, &machines[0], &pin, &logs, PATIENCE)?;
    expect_stored(&mut root, &mut relay, &logs)
}

/// C2: the disk is copied at five instants under load, as a power cut would leave it.
#[test]
fn a_power_cut_leaves_everything_acknowledged_whole() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let machines = site.add_machines(&relay.node_id, 4)?;
    let mut root = site.prepare_root(site.sqlite())?;
    let Some(disk) = Disk::make(site.directory())? else {
        eprintln!("skipped: only root with loop devices can make a file system to cut the power of");
        return Ok(());
    };
    // No upstream yet: what is acknowledged stays in the spool.
    let mut relay = site.prepare_relay(&relay, &root, ports::free()?)?;
    relay.set("processing.reporting.directory", format!("{:?}", disk.mounted.join("reports")));
    relay.set("gateway.uploads_per_minute", "100000");
    relay.start()?;
    let logs = simulated::many(&machines, 2000, simulated::USUAL_ROWS, Utc::now())?;
    let acknowledged = Mutex::new(HashSet::new());
    let enough = AtomicBool::new(false);
    let cuts = std::thread::scope(|scope| -> Result<Vec<Cut>> {
        let uploads: Vec<_> = machines
            .iter()
            .map(|machine| {
                let (relay, acknowledged, enough) = (&relay, &acknowledged, &enough);
                let connector = connector(machine, relay.key_hash())?;
                let (address, logs) = (relay.gateway(), &logs);
                Ok(scope.spawn(move || {
                    blocking(async {
                        let mut connection = Connection::open(address, &connector).await?;
                        for log in logs.iter().filter(|log| log.id.node_id == machine.node_id) {
                            if enough.load(Ordering::Relaxed) {
                                break;
                            }
                            let status = connection.upload(log).await?;
                            assert_eq!(status.as_u16(), 201);
                            acknowledged.lock().unwrap().insert(log.name.clone());
                        }
                        Ok(())
                    })
                }))
            })
            .collect::<Result<_>>()?;
        let mut before = 0;
        let cuts = (1..=5)
            .map(|cut| {
                // Since the cut before, which may have come late.
                wait::until_true("more uploads", PATIENCE, || {
                    Ok(acknowledged.lock().unwrap().len() >= before + 37)
                })?;
                let sure = acknowledged.lock().unwrap().clone();
                before = sure.len();
                Ok(Cut { image: disk.cut(cut)?, sure })
            })
            .collect();
        enough.store(true, Ordering::Relaxed);
        for upload in uploads {
            upload.join().map_err(|_| "an uploader panicked")??;
        }
        cuts
    })?;
    relay.kill();

    let mut last = HashSet::new();
    for cut in cuts {
        assert!(cut.sure.len() > last.len(), "a cut under load");
        let after = disk.mount_instead(&cut.image)?;
        expect_whole(&after.join("reports/incoming"), &logs, &cut.sure)?;
        last = cut.sure;
    }
    // The daemon, started on what the last cut left, loses none of it.
    relay.set("output.upstream.port", root.gateway().port().to_string());
    root.start()?;
    relay.start()?;
    let sure: Vec<_> = logs.into_iter().filter(|log| last.contains(&log.name)).collect();
    wait_drained(&mut relay, PATIENCE)?;
    expect_stored(&mut root, &mut relay, &sure)
}

/// Each file that is there under its name is whole, and each of `sure` is there.
fn expect_whole(incoming: &Path, logs: &[Packed], sure: &HashSet<String>) -> Result<()> {
    let mut there = HashSet::new();
    for log in logs {
        match fs::read(incoming.join(&log.name)) {
            Ok(content) => {
                assert!(content == log.content, "{} is torn: {} bytes", log.name, content.len());
                there.insert(log.name.clone());
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    let missing: Vec<_> = sure.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged files are gone: {missing:?}",
        missing.len(),
        sure.len()
    );
    Ok(())
}

/// All of these are stored once, though others may be stored as well.
fn expect_stored(root: &mut Server, relay: &mut Server, logs: &[Packed]) -> Result<()> {
    let mut judge = Judge::default();
    for log in logs {
        judge.claim(log);
        judge.acknowledge(&log.id);
    }
    let database = root.database()?.clone();
    wait::until_true("everything acknowledged to be stored", PATIENCE, || {
        Ok(judge.verdict(&database)?.lost == 0)
    })
    .map_err(|e| format!("{e}\nrelay: {}\nroot: {}", relay.log_end(), root.log_end()))?;
    let verdict = judge.verdict(&database)?;
    assert_eq!((verdict.duplicated, verdict.torn), (0, 0), "{verdict}");
    assert_eq!(waiting(&root.failed())?, 0);
    Ok(())
}

struct Cut {
    image: PathBuf,
    /// Acknowledged before the cut began.
    sure: HashSet<String>,
}

/// A file system in a file in a file system: freezing the outer one stops the inner one's disk at an
/// instant, and a copy of the file is what a power cut then would leave.
struct Disk {
    directory: PathBuf,
    outer: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// `None` where mounting is not permitted.
    fn make(directory: &Path) -> Result<Option<Self>> {
        let disk = Self {
            directory: directory.to_owned(),
            outer: directory.join("outer"),
            mounted: directory.join("disk"),
        };
        fs::create_dir_all(&disk.outer)?;
        fs::create_dir_all(&disk.mounted)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let image = directory.join("outer.img");
        make_file_system(&image, "192M")?;
        if run("mount", &["-o", "loop", &text(&image), &text(&disk.outer)]).is_err() {
            return Ok(None);
        }
        let image = disk.image();
        make_file_system(&image, "96M")?;
        run("mount", &["-o", "loop", &text(&image), &text(&disk.mounted)])?;
        Ok(Some(disk))
    }

    fn image(&self) -> PathBuf {
        self.outer.join("inner.img")
    }

    /// What a power cut at this instant would leave.
    fn cut(&self, number: usize) -> Result<PathBuf> {
        let copy = self.directory.join(format!("cut-{number}.img"));
        run("fsfreeze", &["--freeze", &text(&self.outer)])?;
        let copied = fs::copy(self.image(), &copy);
        run("fsfreeze", &["--unfreeze", &text(&self.outer)])?;
        copied?;
        Ok(copy)
    }

    /// Mounts another image in the place of this disk.
    fn mount_instead(&self, image: &Path) -> Result<PathBuf> {
        wait::until_true("the disk to be unused", PATIENCE, || {
            Ok(run("umount", &[&text(&self.mounted)]).is_ok())
        })?;
        run("mount", &["-o", "loop", &text(image), &text(&self.mounted)])?;
        Ok(self.mounted.clone())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon may still be there when a test fails.
        for mounted in [&self.mounted, &self.outer] {
            let _ = run("umount", &["--lazy", &text(mounted)]);
        }
    }
}

fn make_file_system(image: &Path, size: &str) -> Result<()> {
    run("truncate", &["--size", size, &text(image)])?;
    run("mkfs.ext4", &["-q", "-F", &text(image)])
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(programs::of_system(program)?).args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))
                .into())
        }
    }
}
