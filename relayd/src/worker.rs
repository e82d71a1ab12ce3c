// SPDX-License-Identifier: Apache-2.0
//! One thread for all work on large lists.
//!
//! Threads of a pool each keep memory that they freed for themselves: with a list made now by one and
//! now by another, a server would in time hold several times what it needs.

use std::{io, sync::mpsc, thread};

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Does one piece of work after the other, until it and its clones are dropped.
#[derive(Debug, Clone)]
pub struct Worker(mpsc::Sender<Work>);

impl Worker {
    /// Starts the thread.
    pub fn start(name: &str) -> io::Result<Self> {
        let (sender, works) = mpsc::channel::<Work>();
        thread::Builder::new().name(name.into()).spawn(move || {
            for work in works {
                work();
            }
        })?;
        Ok(Self(sender))
    }

    /// Has some work done.
    ///
    /// **Panics**: when this or an earlier piece of work does.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = oneshot::channel();
        let work = move || {
            // Nobody waits for it any more when the daemon stops.
            let _ = sender.send(work());
        };
        self.0.send(Box::new(work)).expect("the thread ends after its work alone");
        done.await.expect("work that does not panic is done")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_by_one_thread() {
        let worker = Worker::start("test").unwrap();
        let first = worker.run(|| thread::current().id()).await;
        for _ in 0..10 {
            assert_eq!(worker.clone().run(|| thread::current().id()).await, first);
        }
        assert_ne!(first, thread::current().id());
    }
}
