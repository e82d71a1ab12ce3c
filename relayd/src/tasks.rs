// SPDX-License-Identifier: Apache-2.0
//! Named, supervised background tasks.
//!
//! A task ends only after the stop token was cancelled. One that ends earlier, fails or panics is
//! fatal: [`Tasks::supervise`] returns at once with its name, and the process exits. After the stop
//! the tasks have a grace period; who is late is named.

use std::{collections::HashMap, fmt::Display, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::pulse::Pulses;

/// The tasks of the daemon.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, String>,
    stop: CancellationToken,
    pulses: Pulses,
}

/// A task ended that should not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// Without being asked to.
    #[error("task {0} ended without being asked to")]
    Ended(String),
    /// With an error.
    #[error("task {name} failed: {error}")]
    Failed {
        /// The task.
        name: String,
        /// Its error.
        error: String,
    },
    /// It panicked.
    #[error("task {0} panicked")]
    Panicked(String),
}

impl Tasks {
    /// Makes an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when tasks shall drain and end.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether the tasks live.
    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    /// Starts a task. It must end when the stop token is cancelled, and not before.
    pub fn spawn<E: Display>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        let task = async move { task.await.map_err(|error| error.to_string()) };
        let handle = self.set.spawn(self.pulses.watch(name.clone(), task));
        self.names.insert(handle.id(), name);
    }

    /// Watches the tasks until the stop token is cancelled.
    pub async fn supervise(&mut self) -> Result<(), Fatal> {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.set.join_next_with_id() => {
                    // A task that saw the stop before this loop did is not at fault.
                    let asked = stop.is_cancelled();
                    self.ended(ended, asked)?;
                }
            }
        }
    }

    /// After the stop: waits for the tasks to end. Returns the names of those that did not within `grace`.
    pub async fn drain(mut self, grace: Duration) -> Result<Vec<String>, Fatal> {
        self.pulses.forget();
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                self.ended(ended, true)?;
            }
            Ok(())
        };
        match timeout(grace, all).await {
            Ok(result) => result.map(|()| Vec::new()),
            Err(_) => {
                let mut late: Vec<_> = self.names.into_values().collect();
                late.sort();
                Ok(late)
            }
        }
    }

    fn ended(
        &mut self,
        ended: Result<(Id, Result<(), String>), JoinError>,
        asked: bool,
    ) -> Result<(), Fatal> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or_else(|| "unnamed".to_owned());
        match ended {
            Ok((_, Ok(()))) if asked => Ok(()),
            Ok((_, Ok(()))) => Err(Fatal::Ended(name)),
            Ok((_, Err(error))) => Err(Fatal::Failed { name, error }),
            Err(_) => Err(Fatal::Panicked(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn first_fatal(mut tasks: Tasks) -> Fatal {
        timeout(SOON, tasks.supervise()).await.expect("in time").expect_err("fatal")
    }

    #[tokio::test]
    async fn a_task_that_ends_fails_or_panics_is_fatal_and_named() {
        let mut tasks = Tasks::new();
        tasks.spawn::<String>("healthy", std::future::pending());
        tasks.spawn::<String>("short", async { Ok(()) });
        assert_eq!(first_fatal(tasks).await, Fatal::Ended("short".into()));

        let mut tasks = Tasks::new();
        tasks.spawn("bad", async { Err("disk gone") });
        assert_eq!(first_fatal(tasks).await.to_string(), "task bad failed: disk gone");

        let mut tasks = Tasks::new();
        tasks.spawn::<String>("mad", async { panic!("on purpose") });
        assert_eq!(first_fatal(tasks).await, Fatal::Panicked("mad".into()));
    }

    #[tokio::test]
    async fn draining_waits_for_tasks_and_names_who_is_late() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        tasks.spawn::<String>("polite", async move {
            stop.cancelled().await;
            Ok(())
        });
        tasks.spawn::<String>("stubborn", std::future::pending());
        assert_eq!(tasks.drain(Duration::from_millis(50)).await, Ok(vec!["stubborn".to_owned()]));
    }

    #[tokio::test]
    async fn supervision_ends_with_the_stop() {
        let mut tasks = Tasks::new();
        tasks.spawn::<String>("healthy", std::future::pending());
        tasks.stop().cancel();
        assert_eq!(timeout(SOON, tasks.supervise()).await, Ok(Ok(())));
    }
}
