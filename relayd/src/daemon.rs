// SPDX-License-Identifier: Apache-2.0
//! The daemon's life: read the configuration, bind, run, drain.
//!
//! Everything that can fail at start fails in `start`, before any task runs for long. Services
//! get their own section of the configuration and their own handles; which of them run is decided
//! in `services`.

mod advisories;
mod cache;
mod fleet;
mod inventories;
mod nodes;
mod policies;
mod remote_run;
mod retention;
mod services;
mod shared_files;
mod status;
mod triggers;
mod upstream;

use std::{fmt::Display, io, path::Path, process::ExitCode, time::Duration};

use logging::{LogControl, LoggingError, Program, Style};
use prometheus::{Registry, process_collector::ProcessCollector};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use self::services::Services;
use crate::{
    api::{Api, ApiHandles},
    config::{self, Config, ConfigError},
    metrics::{self, CompatibleMetrics},
    reload::{self, Reload},
    resend::ResendSince,
    service_manager::{self, PassedSockets, StatusLine},
    tasks::{Fatal, Tasks},
};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Bad configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Logging.
    #[error("{0}")]
    Logging(#[from] LoggingError),
    /// A part of the daemon could not be made.
    #[error("Could not start {what}: {error}")]
    Service {
        /// The part.
        what: &'static str,
        /// Cause and remedy.
        error: String,
    },
}

impl StartError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Logging(_) | Self::Service { .. } => 3,
        }
    }
}

/// Turns the error of a service into a [`StartError`] that names it.
fn starting<E: Display>(what: &'static str) -> impl Fn(E) -> StartError {
    move |error| StartError::Service { what, error: error.to_string() }
}

/// Runs the daemon with the configuration in `directory` until it is stopped.
pub fn main(directory: &Path) -> ExitCode {
    match run(directory) {
        Ok(code) => code,
        Err(error) => {
            service_manager::failed(&error.to_string());
            for line in error.to_string().lines() {
                if Program::is_in_journal() && !matches!(error, StartError::Logging(_)) {
                    error!("{line}");
                } else {
                    eprintln!("error: {line}");
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(directory: &Path) -> Result<ExitCode, StartError> {
    let log = LogControl::start(Program { identifier: "relayd", style: Style::Daemon })?;
    let sockets = PassedSockets::receive().map_err(starting("with the sockets of the service manager"))?;
    let (_, logging) = config::load_logging(directory)?;
    let loaded = config::load(directory)?;
    log.configure(&logging, &[])?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let general = &loaded.config.general;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(general.core_threads)
        .max_blocking_threads(general.blocking_threads)
        .enable_all()
        .build()
        .map_err(starting("the runtime"))?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(starting("signal handling"))?;
        let Started { tasks, reload, sockets, status_line } =
            start(directory, &loaded.config, sockets, log.clone()).await?;
        for address in sockets.left() {
            warn!(
                "the service manager listens on {address}, but no setting does: nobody will answer there; \
                 add it to gateway.listen, or disable the socket unit"
            );
        }
        info!("started as node {}", general.node_id);
        // Not one of the tasks: it tells of them, to the very end.
        tokio::spawn(service_manager::keep(status_line, tasks.pulses()));
        service_manager::ready();
        Ok(live(tasks, &mut signals, reload, general.shutdown_grace).await)
    });
    log.finish();
    // Threads that still block must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// What runs.
struct Started {
    tasks: Tasks,
    reload: Reload,
    /// Those that no setting asked for.
    sockets: PassedSockets,
    status_line: StatusLine,
}

/// Binds everything and starts the tasks, in the order of protocol 9.7.
async fn start(
    directory: &Path,
    config: &Config,
    sockets: PassedSockets,
    log: LogControl,
) -> Result<Started, StartError> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self())).map_err(starting("metrics"))?;
    let compatible = CompatibleMetrics::new(&registry).map_err(starting("metrics"))?;
    metrics::server::register(config, &registry).map_err(starting("metrics"))?;
    let mut tasks = Tasks::new();
    let (reload, mut reloaders) = reload::service();
    reloaders.count_in(&registry).map_err(starting("metrics"))?;
    let logging_directory = directory.to_owned();
    reloaders.add_blocking("logging.conf", move || {
        let (_, logging) = config::load_logging(&logging_directory).map_err(|error| error.to_string())?;
        log.refilter(&logging).map_err(|error| error.to_string())
    });
    let main_conf = directory.join("main.conf");
    let applies = std::fs::read(&main_conf).ok();
    reloaders.add_blocking("main.conf", move || {
        // Not reloaded (protocol 9.6), which whoever edited it may not expect.
        if std::fs::read(&main_conf).ok() != applies {
            warn!("{} has changed; that applies after a restart", main_conf.display());
        }
        Ok::<_, std::convert::Infallible>(())
    });

    let mut services = Services {
        config,
        registry: &registry,
        compatible,
        tasks: &mut tasks,
        reloaders: &mut reloaders,
        sockets,
        status_line: StatusLine::new(config.general.node_id.clone(), config.upstream.is_some()),
        status: Vec::new(),
        spools: Vec::new(),
        expiry: None,
        database: None,
        upstream_client: None,
        opened: None,
        node_registry: None,
        contacts: None,
        cache: None,
        resend: ResendSince::new(config.run_logs.resend_since),
        files: Default::default(),
        called: Default::default(),
    };
    services.start().await?;
    let overview = services.overview();
    let Services { mut sockets, status_line, status, database, called, .. } = services;

    let handles = ApiHandles {
        configuration: directory.to_owned(),
        database,
        reload: reload.clone(),
        registry,
        overview: Some(overview),
        status,
        services: called,
    };
    let api = Api::open(&config.general.listen, &mut sockets, handles).await;
    let api = api.map_err(starting("the local API"))?;
    let stop = tasks.stop();
    tasks.spawn("local API", api.run(stop.clone()));
    tasks.spawn("reload", reloaders.run(stop));
    Ok(Started { tasks, reload, sockets, status_line })
}

/// From started to ended: watches tasks and signals, then drains.
async fn live(mut tasks: Tasks, signals: &mut Signals, reload: Reload, grace: Duration) -> ExitCode {
    let ended = loop {
        tokio::select! {
            fatal = tasks.supervise() => break fatal,
            asked = signals.next() => match asked {
                Asked::Stop => break Ok(()),
                Asked::Reload => {
                    let reload = reload.clone();
                    // The reload service logs how it went.
                    tokio::spawn(async move { reload.reload().await });
                }
            }
        }
    };
    let drained = match ended {
        Err(fatal) => Err(fatal),
        Ok(()) => {
            info!("stopping: finishing what is under way");
            service_manager::stopping(grace);
            tokio::select! {
                drained = tasks.drain(grace) => drained,
                () = signals.stop() => {
                    warn!("stopped at once by a second signal; unfinished files stay in the spool");
                    Ok(Vec::new())
                }
            }
        }
    };
    farewell(drained)
}

fn farewell(drained: Result<Vec<String>, Fatal>) -> ExitCode {
    match drained {
        Ok(late) => {
            if !late.is_empty() {
                warn!("not finished within the grace period: {}", late.join(", "));
            }
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(fatal) => {
            error!("{fatal}; exiting");
            // Seen also where only errors on standard error are kept.
            if !Program::is_in_journal() {
                eprintln!("error: {fatal}; exiting");
            }
            ExitCode::FAILURE
        }
    }
}

/// What a signal asks for (protocol 9.2).
#[derive(PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// The next request to stop; requests to reload come too late.
    async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_ends_the_process_with_code_1_and_late_tasks_do_not() {
        let mut signals = Signals::listen().unwrap();
        let mut tasks = Tasks::new();
        tasks.spawn::<String>("mad", async { panic!("on purpose") });
        let ended = live(tasks, &mut signals, reload::service().0, Duration::ZERO);
        let code = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("at once");
        assert_eq!(code, ExitCode::FAILURE);

        let mut tasks = Tasks::new();
        tasks.spawn::<String>("stubborn", std::future::pending());
        tasks.stop().cancel();
        let ended = live(tasks, &mut signals, reload::service().0, Duration::ZERO);
        assert_eq!(ended.await, ExitCode::SUCCESS);
    }
}
