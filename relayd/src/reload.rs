// SPDX-License-Identifier: Apache-2.0
//! The one reload service, for SIGHUP and the API (protocol 9.6).
//!
//! Named reloaders run in the order in which they were added, one reload at a time. Each builds the
//! new state and then publishes it; the first error stops the reload, and what was loaded before
//! stays in use.

use std::{fmt::Display, pin::Pin};

use chrono::Utc;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::service_manager;

type Answer = Result<(), ReloadError>;

/// Asks for reloads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::Sender<oneshot::Sender<Answer>>);

/// Why a reload stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// A reloader failed.
    #[error("Could not reload {what}: {error}")]
    Failed {
        /// Its name.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// The daemon is stopping.
    #[error("Not reloaded: the daemon is stopping")]
    Stopping,
}

impl Reload {
    /// Reloads, after the reloads that were asked for earlier.
    pub async fn reload(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| ReloadError::Stopping)?;
        answered.await.map_err(|_| ReloadError::Stopping)?
    }
}

type Reloader = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// The reloaders, and the service that runs them.
pub struct Reloaders {
    reloaders: Vec<(&'static str, Reloader)>,
    requests: mpsc::Receiver<oneshot::Sender<Answer>>,
    counted: Option<Counted>,
}

struct Counted {
    reloads: IntCounterVec,
    succeeded: IntGauge,
    since: IntGauge,
}

/// Makes the service and the handle to it.
pub fn service() -> (Reload, Reloaders) {
    let (sender, requests) = mpsc::channel(8);
    (Reload(sender), Reloaders { reloaders: Vec::new(), requests, counted: None })
}

impl Reloaders {
    /// Counts reloads.
    pub fn count_in(&mut self, registry: &Registry) -> Result<(), prometheus::Error> {
        let reloads = Opts::new("relayd_reloads_total", "Reloads of configuration and data, by result");
        let counted = Counted {
            reloads: IntCounterVec::new(reloads, &["result"])?,
            succeeded: IntGauge::new(
                "relayd_last_reload_successful",
                "1 when configuration and data were read as they are on disk, at start or by the last reload, else 0",
            )?,
            since: IntGauge::new(
                "relayd_last_reload_success_timestamp_seconds",
                "When configuration and data were last read without error, in seconds since 1970",
            )?,
        };
        for result in ["success", "error"] {
            counted.reloads.with_label_values(&[result]);
        }
        counted.note_success();
        registry.register(Box::new(counted.reloads.clone()))?;
        registry.register(Box::new(counted.succeeded.clone()))?;
        registry.register(Box::new(counted.since.clone()))?;
        self.counted = Some(counted);
        Ok(())
    }

    /// Adds a reloader that blocks (reads files); it runs on a thread for blocking work.
    pub fn add_blocking<E: Display>(
        &mut self,
        what: &'static str,
        reload: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) {
        let reload = std::sync::Arc::new(reload);
        self.add(what, move || {
            let reload = reload.clone();
            async move {
                let run = move || reload().map_err(|error| error.to_string());
                tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| Err(error.to_string()))
            }
        });
    }

    /// Adds a reloader.
    pub fn add<F: Future<Output = Result<(), E>> + Send + 'static, E: Display>(
        &mut self,
        what: &'static str,
        mut reload: impl FnMut() -> F + Send + 'static,
    ) {
        let reload = move || {
            let run = reload();
            Box::pin(async move { run.await.map_err(|error| error.to_string()) }) as Pin<Box<_>>
        };
        self.reloaders.push((what, Box::new(reload)));
    }

    /// Serves until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        while let Some(Some(answer)) = stop.run_until_cancelled(self.requests.recv()).await {
            service_manager::reloading();
            let result = self.reload().await;
            // Before it is said to anybody, who may look at once.
            if let Some(counted) = &self.counted {
                counted.note(&result);
            }
            // Also after an error: what was loaded before works.
            service_manager::ready();
            match &result {
                Ok(()) => info!("configuration and data reloaded"),
                Err(error) => error!("{error}; what was loaded before stays in use"),
            }
            // Whoever asked may be gone.
            let _ = answer.send(result);
        }
        Ok(())
    }

    async fn reload(&mut self) -> Answer {
        for (what, reload) in &mut self.reloaders {
            reload().await.map_err(|error| ReloadError::Failed { what, error })?;
        }
        Ok(())
    }
}

impl Counted {
    fn note(&self, result: &Answer) {
        self.reloads.with_label_values(&[if result.is_ok() { "success" } else { "error" }]).inc();
        match result {
            Ok(()) => self.note_success(),
            Err(_) => self.succeeded.set(0),
        }
    }

    fn note_success(&self) {
        self.succeeded.set(1);
        self.since.set(Utc::now().timestamp());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn the_first_error_stops_a_reload_and_the_next_one_runs_again() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (reload, mut reloaders) = service();
        let (first, second, third) = (calls.clone(), calls.clone(), calls.clone());
        reloaders.add_blocking("one", move || {
            first.lock().unwrap().push(1);
            Ok::<_, String>(())
        });
        reloaders.add("two", move || {
            second.lock().unwrap().push(2);
            let fails = second.lock().unwrap().len() == 2;
            async move { if fails { Err("broken") } else { Ok(()) } }
        });
        reloaders.add_blocking("three", move || {
            third.lock().unwrap().push(3);
            Ok::<_, String>(())
        });
        let stop = CancellationToken::new();
        let service = tokio::spawn(reloaders.run(stop.clone()));
        assert_eq!(reload.reload().await.unwrap_err().to_string(), "Could not reload two: broken");
        assert_eq!(reload.reload().await, Ok(()));
        assert_eq!(*calls.lock().unwrap(), [1, 2, 1, 2, 3]);
        stop.cancel();
        service.await.unwrap().unwrap();
        assert_eq!(reload.reload().await, Err(ReloadError::Stopping));
    }
}
