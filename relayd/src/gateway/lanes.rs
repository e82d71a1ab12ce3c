// SPDX-License-Identifier: Apache-2.0
//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on one thread from its handshake to its end: between two of its requests no other
//! thread is woken to take it over, which costs more than a request that is answered from memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The threads; they end when this is dropped.
pub struct Lanes(Vec<Lane>);

struct Lane {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped with the lane, which ends its thread.
    _stop: oneshot::Sender<()>,
}

/// A connection on a lane, until dropped.
pub struct OnLane(Arc<AtomicUsize>);

impl Lanes {
    /// Starts so many threads, one at least, each with so many more for work that blocks, while there is any.
    ///
    /// **Errors**: the system gives no thread, or no file descriptor.
    pub fn start(threads: usize, blocking_threads: usize) -> io::Result<Self> {
        (0..threads.max(1))
            .map(|number| Lane::start(number, blocking_threads))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The runtime of the thread with the fewest connections, for one more.
    pub fn least(&self) -> Option<(&Handle, OnLane)> {
        let lane = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed))?;
        lane.connections.fetch_add(1, Ordering::Relaxed);
        Some((&lane.runtime, OnLane(lane.connections.clone())))
    }

    /// The runtimes of the threads.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter().map(|lane| &lane.runtime)
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    fn start(number: usize, blocking_threads: usize) -> io::Result<Self> {
        let name = format!("gateway-{number}");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(blocking_threads.max(1))
            .thread_name(format!("{name}-io"))
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(name).spawn(move || {
            // The sender only ever goes away.
            let _ = runtime.block_on(stopped);
            // Threads that still block must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_goes_where_the_fewest_are_and_stays_there() {
        let lanes = Lanes::start(2, 1).unwrap();
        let name = || async { thread::current().name().unwrap_or_default().to_owned() };
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (runtime, on_lane) = lanes.least().unwrap();
            seen.push(runtime.spawn(name()).await.unwrap());
            held.push(on_lane);
        }
        assert_eq!(seen, ["gateway-0", "gateway-1", "gateway-0", "gateway-1"]);
        held.remove(1);
        let (runtime, _on_lane) = lanes.least().unwrap();
        assert_eq!(runtime.spawn(name()).await.unwrap(), "gateway-1", "that has room now");
    }

    #[test]
    fn the_threads_end_with_the_lanes() {
        let lanes = Lanes::start(1, 1).unwrap();
        let (runtime, _on_lane) = lanes.least().unwrap();
        let (gone, is_gone) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        drop(lanes);
        // What a thread still had to do is dropped with it.
        let ended = is_gone.recv_timeout(std::time::Duration::from_secs(30));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
