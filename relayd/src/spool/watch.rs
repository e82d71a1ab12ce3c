// SPDX-License-Identifier: Apache-2.0
//! File system notifications as hints.
//!
//! The handler runs on the notification thread while the kernel's queue fills behind it: it sends
//! and never works or waits. What does not fit becomes "sweep now".

use std::{ffi::OsString, path::Path, sync::Arc};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use protocol::urls::UploadKind;
use tokio::sync::{Notify, mpsc, mpsc::error::TrySendError};

use super::{inspect::Origin, name::is_considered};

/// A name that was noticed, and what that says about the file.
pub type Noticed = (OsString, Origin);

/// Notifications go on while this lives.
#[derive(Debug)]
pub struct Watch(#[expect(dead_code, reason = "kept for what dropping it does")] RecommendedWatcher);

impl Watch {
    /// Starts to watch a directory. `sweep_now` is notified when hints were lost.
    pub fn start(
        directory: &Path,
        kind: UploadKind,
        noticed: mpsc::Sender<Noticed>,
        sweep_now: Arc<Notify>,
    ) -> notify::Result<Self> {
        let handler = move |event: notify::Result<Event>| {
            let lost = match event {
                Ok(event) if event.need_rescan() => true,
                Ok(event) => !pass_on(event, kind, &noticed),
                Err(_) => true,
            };
            if lost {
                sweep_now.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(handler)?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(Self(watcher))
    }
}

/// `false`: there was no room.
fn pass_on(event: Event, kind: UploadKind, noticed: &mpsc::Sender<Noticed>) -> bool {
    let origin = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Origin::Finished,
        // The one notice of a hard link; also the first one of a file that will be written.
        EventKind::Create(CreateKind::File) => Origin::Seen,
        _ => return true,
    };
    let name = event.paths.first().and_then(|path| path.file_name());
    let Some(name) = name.filter(|name| is_considered(kind, name)) else { return true };
    // When the receiver is gone nobody needs the hint.
    !matches!(noticed.try_send((name.to_owned(), origin)), Err(TrySendError::Full(_)))
}
