// SPDX-License-Identifier: Apache-2.0
//! One delivery of one file: inspect, sink, settle.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus::Histogram;

use super::{
    Sink,
    clock::{Clock, age},
    disposition::{Disposition, Outcome, Reason, Rejection, Release},
    gate::Evidence,
    inspect::{Finding, Identity, Origin, inspect},
    later::FileName,
    name::{About, Ids},
    settle::{Directories, Settled, settle},
};

/// What all deliveries of a spool share.
pub struct Task<S> {
    pub sink: Arc<S>,
    pub directories: Directories,
    pub max_size: u64,
    pub clock: Arc<dyn Clock>,
    /// How long files waited that were accepted, in seconds.
    pub waited: Histogram,
}

/// A delivery that ended.
pub struct Ended {
    pub name: FileName,
    /// Whether it was the probe of a closed gate.
    pub probe: bool,
    /// Says in log lines which file it was.
    pub about: About,
    pub what: What,
}

/// How it ended, the file included.
pub enum What {
    /// There was no file.
    Gone,
    /// The file may still be written; it was not delivered.
    TooYoung,
    /// The file was changed while it was delivered; the new one is still to be delivered.
    Changed,
    /// Removed.
    Accepted(Outcome, Evidence),
    /// Moved to `failed/`; the error is why no reason file is there.
    Rejected(Rejection, Evidence, Option<io::Error>),
    /// Left.
    Released(Release),
    /// Left: what is wrong with it may be that it is not all there yet.
    Incomplete,
    /// To be removed or moved, but that failed.
    Unsettled(io::Error, Disposition),
}

impl What {
    /// Whether nothing is left under the name.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Gone | Self::Accepted(..) | Self::Rejected(..))
    }
}

/// A file that looks incomplete gets this long since its last change.
const INCOMPLETE_AGE: Duration = Duration::from_secs(30);

impl<S: Sink> Task<S> {
    /// Delivers one file.
    pub async fn deliver(self: Arc<Self>, name: FileName, origin: Origin, probe: bool) -> Ended {
        let about = Ids::of(self.directories.kind, &name).about();
        let what = about.within(self.attempt(&name, origin)).await;
        Ended { name, probe, about, what }
    }

    async fn attempt(self: &Arc<Self>, name: &FileName, origin: Origin) -> What {
        let now = self.clock.wall();
        let Directories { kind, incoming, .. } = &self.directories;
        // The name was just listed or noticed, so its inode is in memory: not worth another thread.
        match inspect(*kind, incoming, name, origin, self.max_size, now) {
            Finding::Gone => What::Gone,
            Finding::TooYoung => What::TooYoung,
            Finding::Unreadable(e) => What::Released(Release {
                outlet_down: false,
                detail: format!("cannot look at the file: {e}"),
                retry_after: None,
                is_usual: false,
            }),
            Finding::Refused(rejection, identity) => {
                self.settle(name, identity, Disposition::Rejected(rejection), Evidence::None).await
            }
            Finding::Ready(file, identity, modified) => {
                let disposition = self.sink.deliver(&file).await;
                if let Disposition::Rejected(rejection) = &disposition
                    && rejection.maybe_incomplete
                    && self.is_young(modified)
                {
                    return What::Incomplete;
                }
                let evidence = evidence(&disposition);
                let what = self.settle(name, identity, disposition, evidence).await;
                if let (What::Accepted(..), Some(modified)) = (&what, modified) {
                    // A clock that was set back says nothing.
                    let waited = age(self.clock.wall(), modified).unwrap_or_default();
                    self.waited.observe(waited.as_secs_f64());
                }
                what
            }
        }
    }

    fn is_young(&self, modified: Option<SystemTime>) -> bool {
        modified.and_then(|time| age(self.clock.wall(), time)).is_some_and(|age| age < INCOMPLETE_AGE)
    }

    async fn settle(
        self: &Arc<Self>,
        name: &FileName,
        identity: Identity,
        disposition: Disposition,
        evidence: Evidence,
    ) -> What {
        if let Disposition::Released(release) = disposition {
            return What::Released(release);
        }
        let (task, name, now) = (self.clone(), name.clone(), self.clock.wall().into());
        let settled = tokio::task::spawn_blocking(move || {
            let settled = settle(&task.directories, &name, identity, &disposition, now);
            (settled, disposition)
        });
        let (settled, disposition) = match settled.await {
            Ok(done) => done,
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: the file is for the next start.
                Err(_) => return What::Incomplete,
            },
        };
        if let Ok(Settled::Removed | Settled::Moved(_)) = settled {
            self.sink.settled(&disposition);
        }
        match (settled, disposition) {
            (Err(e), disposition) => What::Unsettled(e, disposition),
            (Ok(Settled::Changed), _) => What::Changed,
            (Ok(_), Disposition::Accepted(Outcome::Vanished)) => What::Gone,
            (Ok(_), Disposition::Accepted(outcome)) => What::Accepted(outcome, evidence),
            (Ok(Settled::Moved(unexplained)), Disposition::Rejected(rejection)) => {
                What::Rejected(rejection, evidence, unexplained)
            }
            (Ok(_), Disposition::Rejected(_)) => What::Gone,
            (Ok(_), Disposition::Released(release)) => What::Released(release),
        }
    }
}

/// What a disposition says about the outlet, when it does not say that it is down.
fn evidence(disposition: &Disposition) -> Evidence {
    match disposition {
        Disposition::Accepted(Outcome::Vanished) => Evidence::None,
        Disposition::Accepted(_) => Evidence::Up,
        Disposition::Rejected(rejection) => match rejection.reason {
            Reason::UpstreamRefused | Reason::DatabaseRefused | Reason::Conflict => Evidence::Up,
            // Decided here, before the outlet was asked.
            _ => Evidence::None,
        },
        Disposition::Released(release) if release.outlet_down => Evidence::Down(release.retry_after),
        Disposition::Released(_) => Evidence::Up,
    }
}
