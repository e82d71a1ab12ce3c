// SPDX-License-Identifier: Apache-2.0
//! Spools: directories that are durable queues.
//!
//! ```text
//!   notifications ─┐ hints                      accepted: removed
//!   gateway ───────┼──────▶ dispatch ──▶ sink ──▶ settle ──▶ rejected: failed/ + reason
//!   sweeps ────────┘ names   (gate)              released: stays
//! ```
//! The directory is the queue. Notifications, listings and notices from the gateway are *hints*
//! that a file may be there; correctness never depends on them.
//!
//! | file | what it owns |
//! |---|---|
//! | [`name`], [`inspect`] | which files are looked at, and what they must be |
//! | [`watch`](mod@watch), [`sweep`], [`listing`] | hints and names |
//! | [`dispatch`], [`delivery`], [`gate`], [`later`] | the names in flight, the outlet's state, what waits |
//! | [`disposition`], [`settle`], [`reason_file`] | how a delivery ends and what becomes of the file |
//! | [`clean`], [`clock`] | retention, and how time is trusted |
//! | [`metrics`] | counters and the state for the local API |

pub mod clean;
pub mod clock;
mod delivery;
mod dispatch;
pub mod disposition;
mod gate;
mod inspect;
mod later;
mod listing;
pub mod metrics;
pub mod name;
pub mod reason_file;
pub mod settle;
mod sweep;
mod watch;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use prometheus::Registry;
use protocol::urls::UploadKind;
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::SpoolSettings;
use clock::{Clock, SystemClock};
pub use inspect::Identity;
pub use metrics::Status;
use metrics::{GateState, LastPutOff, Metrics};
pub use name::SpoolName;
use settle::Directories;

/// A file in `incoming/` whose name was checked.
#[derive(Debug, Clone)]
pub struct SpoolFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub name: SpoolName,
}

impl SpoolFile {
    /// Opens it for reading; see [`open_regular`]. Blocking.
    pub fn open(&self) -> io::Result<File> {
        open_regular(&self.path)
    }
}

/// Opens a regular file for reading. Follows no link and waits for no FIFO. Blocking.
///
/// **Errors**: [`io::ErrorKind::InvalidInput`] when it is something else; `ELOOP` when it is a link.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// A hint, from the gateway to a spool, that a file with this name may be there.
pub type Hint = String;

/// Where a spool's files go. One delivery of one file at a time per file name; many files at once.
pub trait Sink: Send + Sync + 'static {
    /// Delivers a file and says how that ended. Never touches the file but to read it.
    fn deliver(&self, file: &SpoolFile) -> impl Future<Output = disposition::Disposition> + Send;

    /// Counts a file that is gone, or in `failed/`, by this disposition. A delivery alone says less:
    /// a file that looks incomplete, or was changed meanwhile, is delivered again.
    fn settled(&self, _disposition: &disposition::Disposition) {}
}

/// Why a spool cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A directory cannot be made.
    #[error("cannot make the spool directory {path}: {error}; check its owner and the mode of its parent")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A metric is registered twice.
    #[error("metrics of a spool: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A delivery or the spool's own work panicked.
    #[error("a task of the spool {spool} panicked: {error}")]
    Panicked {
        /// Which spool.
        spool: &'static str,
        /// What the runtime says.
        error: tokio::task::JoinError,
    },
}

/// A spool, ready to run.
pub struct Spool {
    directories: Directories,
    settings: SpoolSettings,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    notices: (mpsc::Sender<Hint>, mpsc::Receiver<Hint>),
    gate: tokio::sync::watch::Sender<GateState>,
    put_off: LastPutOff,
}

/// Hints kept from each source while the dispatcher is busy; more become a sweep.
const HINTS: usize = 4096;

impl Spool {
    /// Opens the spool of one kind, making its directories with mode 0770 (protocol 10.2).
    pub fn open(kind: UploadKind, settings: &SpoolSettings, registry: &Registry) -> Result<Self, SpoolError> {
        Self::with_clock(kind, settings, registry, Arc::new(SystemClock))
    }

    /// As [`Spool::open`], with another clock.
    pub fn with_clock(
        kind: UploadKind,
        settings: &SpoolSettings,
        registry: &Registry,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SpoolError> {
        let directories = directories(kind, &settings.directory);
        make_directories(&directories)?;
        Ok(Self {
            directories,
            settings: settings.clone(),
            metrics: Metrics::new(kind, registry)?,
            clock,
            notices: mpsc::channel(HINTS),
            gate: tokio::sync::watch::Sender::new(GateState::Open),
            put_off: tokio::sync::watch::Sender::new(None),
        })
    }

    /// Where the gateway says that it finished a file. `try_send`: a full channel is harmless.
    pub fn notices(&self) -> mpsc::Sender<Hint> {
        self.notices.0.clone()
    }

    /// The directory that is the queue.
    pub fn incoming(&self) -> &Path {
        &self.directories.incoming
    }

    /// A handle to its state.
    pub fn status(&self) -> Status {
        Status::new(self.directories.kind, self.metrics.clone(), &self.gate, &self.put_off)
    }

    /// Delivers what is and comes into the directory, until `stop`; then finishes what is in flight.
    ///
    /// **Errors**: [`SpoolError::Panicked`] only; everything else is for later.
    pub async fn run(self, sink: Arc<impl Sink>, stop: CancellationToken) -> Result<(), SpoolError> {
        let spool = self.directories.kind.segment();
        let housekeeping = clean::Housekeeping {
            directories: self.directories.clone(),
            clean_every: self.settings.clean_every,
            retention: self.settings.retention,
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
        };
        let dispatcher = dispatch::Dispatcher::new(self, sink);
        let done = tokio::try_join!(dispatcher.run(stop.clone()), housekeeping.run(stop));
        done.map(|_| ()).map_err(|error| SpoolError::Panicked { spool, error })
    }
}

/// The directories of a spool below a base directory (protocol 2.7, 6.4).
pub fn directories(kind: UploadKind, base: &Path) -> Directories {
    let incoming = match kind {
        UploadKind::RunLog | UploadKind::NewInventory => "incoming",
        UploadKind::InventoryUpdate => "accepted-nodes-updates",
    };
    Directories { kind, incoming: base.join(incoming), failed: base.join("failed") }
}

fn make_directories(directories: &Directories) -> Result<(), SpoolError> {
    for path in [&directories.incoming, &directories.failed] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o770)
            .create(path)
            .map_err(|error| SpoolError::Directory { path: path.clone(), error })?;
    }
    Ok(())
}
