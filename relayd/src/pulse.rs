// SPDX-License-Identifier: Apache-2.0
//! Whether supervised tasks live: each is still there, and none holds on to its thread.
//!
//! A task that waits is well, however long it waits. One that is polled and does not return is stuck:
//! work that blocks belongs on other threads. A runtime of its own is well when it does what it is given.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout};

/// The pulses of all tasks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pulses(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    tasks: Vec<Arc<Pulse>>,
    runtimes: Vec<(String, Handle)>,
}

/// What is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ailing {
    /// It ended.
    Gone(String),
    /// It has been busy without a pause for this long.
    Stuck(String, Duration),
}

impl fmt::Display for Ailing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(name) => write!(f, "{name} has ended"),
            Self::Stuck(name, time) => write!(f, "{name} is stuck for {} s", time.as_secs()),
        }
    }
}

#[derive(Debug)]
struct Pulse {
    name: String,
    born: Instant,
    /// When the poll under way began, in milliseconds after `born`; [`RESTING`] between polls.
    busy_since: AtomicU64,
    gone: AtomicBool,
}

const RESTING: u64 = u64::MAX;

impl Pulses {
    /// Watches a task.
    pub fn watch<F: Future>(&self, name: String, task: F) -> Watched<F> {
        let pulse = Arc::new(Pulse {
            name,
            born: Instant::now(),
            busy_since: AtomicU64::new(RESTING),
            gone: AtomicBool::new(false),
        });
        self.lock().tasks.push(pulse.clone());
        Watched { task: Box::pin(task), pulse }
    }

    /// Watches another runtime than that of the tasks.
    pub fn watch_runtime(&self, name: String, runtime: Handle) {
        self.lock().runtimes.push((name, runtime));
    }

    /// The first task that has ended, or that has been busy without a pause for longer than `limit`, or the
    /// first runtime that does nothing for as long.
    pub async fn ailing(&self, limit: Duration) -> Option<Ailing> {
        let runtimes = self.lock().runtimes.clone();
        let asked = runtimes.into_iter().map(async |(name, runtime)| {
            let nothing = runtime.spawn(async {});
            timeout(limit, nothing).await.is_err().then_some(Ailing::Stuck(name, limit))
        });
        let stuck = join_all(asked).await.into_iter().flatten().next();
        self.ailing_task(limit).or(stuck)
    }

    fn ailing_task(&self, limit: Duration) -> Option<Ailing> {
        self.lock().tasks.iter().find_map(|pulse| {
            if pulse.gone.load(Relaxed) {
                return Some(Ailing::Gone(pulse.name.clone()));
            }
            let busy_since = pulse.busy_since.load(Relaxed);
            if busy_since == RESTING {
                return None;
            }
            let busy = pulse.born.elapsed().saturating_sub(Duration::from_millis(busy_since));
            (busy > limit).then(|| Ailing::Stuck(pulse.name.clone(), busy))
        })
    }

    /// From now on tasks are expected to end.
    pub fn forget(&self) {
        *self.lock() = Known::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task with a pulse.
#[derive(Debug)]
pub struct Watched<F> {
    task: Pin<Box<F>>,
    pulse: Arc<Pulse>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let now = u64::try_from(self.pulse.born.elapsed().as_millis()).unwrap_or(RESTING - 1);
        self.pulse.busy_since.store(now, Relaxed);
        let polled = self.task.as_mut().poll(context);
        self.pulse.busy_since.store(RESTING, Relaxed);
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        self.pulse.gone.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_task_that_waits_is_well_and_one_that_ended_is_not() {
        let pulses = Pulses::default();
        let waiting = tokio::spawn(pulses.watch("waiting".into(), std::future::pending::<()>()));
        tokio::task::yield_now().await;
        assert_eq!(pulses.ailing_task(Duration::ZERO), None);
        let panics = tokio::spawn(pulses.watch("mad".into(), async { panic!("on purpose") }));
        panics.await.unwrap_err();
        assert_eq!(pulses.ailing_task(Duration::ZERO), Some(Ailing::Gone("mad".into())));
        pulses.forget();
        assert_eq!(pulses.ailing_task(Duration::ZERO), None);
        waiting.abort();
    }

    #[test]
    fn a_task_that_blocks_its_thread_is_stuck() {
        let pulses = Pulses::default();
        let (begun, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let task = pulses.watch("stuck".into(), async move {
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        std::thread::scope(|scope| {
            scope.spawn(|| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task));
            has_begun.recv().unwrap();
            assert_eq!(pulses.ailing_task(Duration::from_secs(3600)), None);
            let deadline = Instant::now() + Duration::from_secs(10);
            while pulses.ailing_task(Duration::from_millis(1)).is_none() {
                assert!(Instant::now() < deadline, "not noticed");
                std::thread::yield_now();
            }
            let ailing = pulses.ailing_task(Duration::ZERO);
            assert!(matches!(&ailing, Some(Ailing::Stuck(name, _)) if name == "stuck"), "{ailing:?}");
            drop(end);
        });
    }

    #[test]
    fn a_runtime_whose_thread_is_blocked_is_stuck() {
        let pulses = Pulses::default();
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let here = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        pulses.watch_runtime("other".into(), other.handle().clone());
        assert_eq!(here.block_on(pulses.ailing(Duration::from_secs(3600))), None);
        let (end, ends) = mpsc::channel::<()>();
        other.spawn(async move {
            let _ = ends.recv();
        });
        let limit = Duration::from_millis(20);
        assert_eq!(here.block_on(pulses.ailing(limit)), Some(Ailing::Stuck("other".into(), limit)));
        drop(end);
        assert_eq!(here.block_on(pulses.ailing(Duration::from_secs(3600))), None);
        drop(other);
        assert_eq!(here.block_on(pulses.ailing(limit)), None, "ended in order");
    }
}
