// SPDX-License-Identifier: Apache-2.0
//! Spools on real directories with real notifications, and a sink that does as it is told.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use prometheus::Registry;
use protocol::urls::UploadKind;
use relayd::{
    config::SpoolSettings,
    spool::{
        Sink, Spool, SpoolError, SpoolFile, Status,
        disposition::{Disposition, Outcome, Reason, Rejection, Release},
        metrics::GateState,
        reason_file::ReasonFile,
    },
};
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

type Behaviour = Box<dyn Fn(&str) -> Disposition + Send>;

/// What the sink saw, and how it answers.
struct TestSink {
    /// Contents by name, once per delivery.
    delivered: Mutex<HashMap<String, Vec<String>>>,
    answer: Mutex<Behaviour>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// Files that were settled.
    settled: AtomicUsize,
    /// Deliveries wait here when set.
    hold: Mutex<Option<Arc<Notify>>>,
    /// How many have read their file and then waited there.
    held: AtomicUsize,
}

impl TestSink {
    fn new(answer: impl Fn(&str) -> Disposition + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            delivered: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
            hold: Mutex::default(),
            held: AtomicUsize::new(0),
        })
    }

    fn answer(&self, answer: impl Fn(&str) -> Disposition + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn count(&self) -> usize {
        self.delivered.lock().unwrap().len()
    }

    fn contents(&self, name: &str) -> Vec<String> {
        self.delivered.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

impl Sink for TestSink {
    async fn deliver(&self, file: &SpoolFile) -> Disposition {
        let _one_of = AtOnce::begin(self);
        let content = fs::read_to_string(&file.path);
        let hold = self.hold.lock().unwrap().clone();
        match hold {
            Some(hold) => {
                // From here on it hears of its release: who counts it as held may release it at once.
                let released = hold.notified();
                self.held.fetch_add(1, Ordering::SeqCst);
                released.await;
            }
            None => tokio::task::yield_now().await,
        }
        let Ok(content) = content else { return Disposition::Accepted(Outcome::Vanished) };
        self.delivered.lock().unwrap().entry(file.name.to_string()).or_default().push(content);
        (self.answer.lock().unwrap())(file.name.as_str())
    }

    fn settled(&self, _: &Disposition) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts a delivery while it lives, also one that is aborted.
struct AtOnce<'a>(&'a TestSink);

impl<'a> AtOnce<'a> {
    fn begin(sink: &'a TestSink) -> Self {
        let now = sink.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        sink.most_at_once.fetch_max(now, Ordering::SeqCst);
        Self(sink)
    }
}

impl Drop for AtOnce<'_> {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(_: &str) -> Disposition {
    Disposition::Accepted(Outcome::Stored)
}

fn down(_: &str) -> Disposition {
    Disposition::Released(Release {
        outlet_down: true,
        detail: "no database".into(),
        retry_after: None,
        is_usual: false,
    })
}

fn reject(maybe_incomplete: bool) -> Disposition {
    Disposition::Rejected(Rejection {
        reason: Reason::BadContent,
        detail: "truncated".into(),
        maybe_incomplete,
    })
}

/// A spool on a temporary directory, running while this lives.
struct Fixture {
    root: TempDir,
    settings: SpoolSettings,
    sink: Arc<TestSink>,
    running: Option<Running>,
}

struct Running {
    status: Status,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SpoolError>>,
}

impl Fixture {
    fn new(answer: impl Fn(&str) -> Disposition + Send + 'static) -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = SpoolSettings {
            directory: root.path().join("reports"),
            sweep_every: Some(Duration::from_secs(1)),
            max_file_size: 1000,
            max_in_flight: 16,
            clean_every: Duration::from_secs(3600),
            retention: Duration::from_secs(7 * 86_400),
        };
        for directory in ["incoming", "failed"] {
            fs::create_dir_all(settings.directory.join(directory)).unwrap();
        }
        Self { root, settings, sink: TestSink::new(answer), running: None }
    }

    fn start(&mut self) -> &Running {
        let spool = Spool::open(UploadKind::RunLog, &self.settings, &Registry::new()).unwrap();
        let (status, stop) = (spool.status(), CancellationToken::new());
        let task = tokio::spawn(spool.run(self.sink.clone(), stop.clone()));
        self.running.insert(Running { status, stop, task })
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap().unwrap();
    }

    /// As kill -9 does.
    async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.task.abort();
        assert!(running.task.await.unwrap_err().is_cancelled());
    }

    fn status(&self) -> &Status {
        &self.running.as_ref().unwrap().status
    }

    fn incoming(&self) -> PathBuf {
        self.settings.directory.join("incoming")
    }

    fn failed(&self) -> PathBuf {
        self.settings.directory.join("failed")
    }

    /// Writes beside and renames, as the gateway does.
    fn publish(&self, name: &str, content: &str) {
        let temporary = self.incoming().join(format!(".part-{name}"));
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.incoming().join(name)).unwrap();
    }

    /// Writes a file that is old enough for a sweep.
    fn put_old(&self, name: &str, content: &str) {
        let path = self.incoming().join(name);
        fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}

fn name(i: usize) -> String {
    format!("2024-05-01T02:03:04+00:00@node-{i}.log")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_what_is_there_and_what_comes_by_any_way() {
    let mut f = Fixture::new(accept);
    f.put_old(&name(1), "before");
    f.start();
    until("old file", || f.sink.count() == 1).await;
    f.publish(&name(2), "renamed");
    until("rename", || f.sink.count() == 2).await;
    fs::write(f.incoming().join(name(3)), "written").unwrap();
    until("write", || f.sink.count() == 3).await;
    fs::write(f.incoming().join(".davfs.tmp1"), "linked").unwrap();
    fs::hard_link(f.incoming().join(".davfs.tmp1"), f.incoming().join(name(4))).unwrap();
    fs::remove_file(f.incoming().join(".davfs.tmp1")).unwrap();
    until("link", || f.sink.count() == 4).await;
    until("all settled", || names(&f.incoming()).is_empty()).await;
    for (i, content) in [(1, "before"), (2, "renamed"), (3, "written"), (4, "linked")] {
        assert_eq!(f.sink.contents(&name(i)), [content]);
    }
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_from_the_gateway_need_no_notification() {
    let f = Fixture::new(accept);
    let spool = Spool::open(UploadKind::RunLog, &f.settings, &Registry::new()).unwrap();
    let (notices, stop) = (spool.notices(), CancellationToken::new());
    notices.try_send("no such file.log".into()).unwrap();
    notices.try_send("../../etc/passwd".into()).unwrap();
    f.publish(&name(1), "x");
    notices.try_send(name(1)).unwrap();
    let task = tokio::spawn(spool.run(f.sink.clone(), stop.clone()));
    until("notice", || f.sink.count() == 1).await;
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_with_bounded_deliveries_while_live_files_pass() {
    let mut f = Fixture::new(accept);
    for i in 0..5000 {
        f.put_old(&name(i), "x");
    }
    f.start();
    for i in 5000..5100 {
        f.publish(&name(i), "live");
    }
    until("backlog", || f.sink.count() == 5100).await;
    until("settled", || names(&f.incoming()).is_empty()).await;
    assert!(f.sink.most_at_once.load(Ordering::SeqCst) <= 16);
    assert_eq!(f.sink.delivered.lock().unwrap().values().filter(|d| d.len() != 1).count(), 0);
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_files_are_explained_and_hold_up_nobody() {
    let mut f = Fixture::new(accept);
    for i in 0..60 {
        f.put_old(&format!("{i}.log"), "bad name");
        f.put_old(&format!("{i}.tmp"), "not looked at");
    }
    let at = |name: &str| f.incoming().join(name);
    f.put_old(&name(1), &"x".repeat(1001));
    fs::create_dir(at("dir.log")).unwrap();
    symlink("/etc/passwd", at("link.log")).unwrap();
    symlink("/proc/self/environ", at("proc.gz")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo.log")).status().unwrap().success());
    f.put_old(&name(2), "good");
    f.start();
    until("good file", || f.sink.count() == 1).await;
    until("all moved", || names(&f.incoming()).len() == 60).await;
    for (name, reason) in [
        ("7.log".to_owned(), "bad_name"),
        (name(1), "too_large"),
        ("dir.log".into(), "not_a_file"),
        ("link.log".into(), "not_a_file"),
        ("proc.gz".into(), "not_a_file"),
        ("fifo.log".into(), "not_a_file"),
    ] {
        let failed = f.failed().join(&name);
        assert!(failed.symlink_metadata().is_ok(), "{name}");
        let explained = || ReasonFile::read(&failed).is_ok_and(|r| r.is_some_and(|r| r.reason == reason));
        until(&name, explained).await;
    }
    assert_eq!(f.sink.count(), 1);
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_closes_while_the_outlet_is_down_and_everything_goes_after_it() {
    let mut f = Fixture::new(down);
    f.settings.sweep_every = None;
    for i in 0..300 {
        f.put_old(&name(i), "x");
    }
    f.start();
    until("closed", || matches!(f.status().gate(), GateState::Closed { why, .. } if why == "no database"))
        .await;
    for i in 300..400 {
        f.publish(&name(i), "live");
    }
    until("probes", || f.sink.delivered.lock().unwrap().values().map(Vec::len).sum::<usize>() > 20).await;
    assert_eq!(names(&f.incoming()).len(), 400);
    f.sink.answer(accept);
    until("open", || f.status().gate() == GateState::Open).await;
    until("settled", || names(&f.incoming()).is_empty()).await;
    assert_eq!(f.sink.count(), 400);
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_does_not_stay_closed_when_nothing_waits_behind_it() {
    let mut f = Fixture::new(down);
    f.settings.sweep_every = None;
    f.put_old(&name(0), "x");
    f.start();
    until("closed", || f.status().gate() != GateState::Open).await;
    fs::remove_file(f.incoming().join(name(0))).unwrap();
    until("open", || f.status().gate() == GateState::Open).await;
    f.publish(&name(1), "x");
    until("closed again", || f.status().gate() != GateState::Open).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_alone_cannot_go_waits_alone() {
    let mut f = Fixture::new(|name| match name.contains("node-0") {
        true => Disposition::Released(Release {
            outlet_down: false,
            detail: "404".into(),
            retry_after: None,
            is_usual: false,
        }),
        false => accept(name),
    });
    f.put_old(&name(0), "x");
    f.start();
    until("tried", || f.sink.count() == 1).await;
    for i in 1..20 {
        f.publish(&name(i), "x");
    }
    until("others", || names(&f.incoming()) == [name(0)]).await;
    assert_eq!(f.status().gate(), GateState::Open);
    f.sink.answer(accept);
    until("itself", || names(&f.incoming()).is_empty()).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_closes_the_gate_each_time_does_not_keep_the_others() {
    let mut f = Fixture::new(|name| if name.contains("node-0.") { down(name) } else { accept(name) });
    f.start();
    f.publish(&name(0), "poison");
    until("closed", || matches!(f.status().gate(), GateState::Closed { .. })).await;
    for i in 1..200 {
        f.publish(&name(i), "x");
    }
    until("others", || names(&f.incoming()) == [name(0)]).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_file_that_looks_incomplete_gets_time() {
    let mut f = Fixture::new(|_| reject(true));
    f.start();
    f.publish(&name(1), "half");
    until("tried twice", || f.sink.contents(&name(1)).len() >= 2).await;
    assert_eq!(names(&f.incoming()), [name(1)]);
    assert_eq!(f.sink.settled.load(Ordering::SeqCst), 0);
    // In this order: what was half is never accepted, whenever its next try comes.
    f.publish(&name(1), "whole");
    f.sink.answer(accept);
    until("settled", || names(&f.incoming()).is_empty()).await;
    assert_eq!(f.sink.contents(&name(1)).last().unwrap(), "whole");
    f.sink.answer(|_| reject(true));
    f.put_old(&name(2), "half");
    let failed = f.failed().join(name(2));
    until("rejected", || failed.exists()).await;
    f.stop().await;
    assert_eq!(f.sink.settled.load(Ordering::SeqCst), 2, "once for each file, however often it was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_during_its_delivery_is_delivered_again() {
    let mut f = Fixture::new(accept);
    let hold = Arc::new(Notify::new());
    *f.sink.hold.lock().unwrap() = Some(hold.clone());
    f.start();
    f.publish(&name(1), "old");
    until("under way, and read", || f.sink.held.load(Ordering::SeqCst) == 1).await;
    f.publish(&name(1), "new");
    *f.sink.hold.lock().unwrap() = None;
    hold.notify_one();
    until("settled", || names(&f.incoming()).is_empty()).await;
    assert_eq!(f.sink.contents(&name(1)), ["old", "new"]);
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_kills_and_stops_finish_what_is_in_flight() {
    let mut f = Fixture::new(accept);
    for round in 0..5 {
        for i in 0..200 {
            f.publish(&name(round * 200 + i), "x");
        }
        f.start();
        until("some", || f.sink.count() > round * 100).await;
        f.kill().await;
    }
    f.start();
    until("all", || f.sink.count() == 1000 && names(&f.incoming()).is_empty()).await;
    f.stop().await;

    let hold = Arc::new(Notify::new());
    *f.sink.hold.lock().unwrap() = Some(hold.clone());
    f.start();
    f.publish(&name(5000), "x");
    until("under way", || f.sink.held.load(Ordering::SeqCst) == 1).await;
    let running = f.running.take().unwrap();
    running.stop.cancel();
    hold.notify_one();
    running.task.await.unwrap().unwrap();
    assert!(names(&f.incoming()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_hints_than_fit_become_a_sweep() {
    const FILES: usize = 6000;
    let mut f = Fixture::new(accept);
    f.settings.sweep_every = None;
    let hold = Arc::new(Notify::new());
    *f.sink.hold.lock().unwrap() = Some(hold.clone());
    f.start();
    // More than the queue holds, while nothing is taken from it.
    for i in 0..FILES {
        f.publish(&name(i), "x");
    }
    until("all busy", || f.sink.held.load(Ordering::SeqCst) == 16).await;
    *f.sink.hold.lock().unwrap() = None;
    hold.notify_waiters();
    until("all", || f.sink.count() == FILES && names(&f.incoming()).is_empty()).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vanishing_files_are_nobodys_business() {
    let mut f = Fixture::new(accept);
    f.start();
    for i in 0..300 {
        f.publish(&name(i), "x");
        // Races with the dispatcher on purpose.
        let _ = fs::remove_file(f.incoming().join(name(i)));
    }
    f.publish(&name(1000), "last");
    until("last", || !f.sink.contents(&name(1000)).is_empty()).await;
    until("settled", || names(&f.incoming()).is_empty()).await;
    assert!(names(&f.failed()).is_empty());
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_settled_close_the_gate_and_are_settled_later() {
    let mut f = Fixture::new(|_| reject(false));
    f.start();
    until("watching", || f.failed().exists()).await;
    fs::remove_dir(f.failed()).unwrap();
    f.publish(&name(1), "x");
    until("closed", || matches!(f.status().gate(), GateState::Closed { .. })).await;
    assert_eq!(names(&f.incoming()), [name(1)]);
    fs::create_dir(f.failed()).unwrap();
    until("moved", || names(&f.failed()).len() == 2).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_goes_away_is_made_and_watched_again() {
    let mut f = Fixture::new(accept);
    f.start();
    f.publish(&name(1), "x");
    until("first", || f.sink.count() == 1 && names(&f.incoming()).is_empty()).await;
    fs::rename(f.incoming(), f.root.path().join("elsewhere")).unwrap();
    until("made anew", || f.incoming().is_dir()).await;
    f.publish(&name(2), "x");
    until("second", || f.sink.count() == 2).await;
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_delivery_ends_the_spool() {
    let mut f = Fixture::new(|_| panic!("on purpose"));
    f.put_old(&name(1), "x");
    f.start();
    let ended = f.running.take().unwrap().task.await.unwrap();
    assert!(matches!(ended, Err(SpoolError::Panicked { spool: "reports", .. })));
}
