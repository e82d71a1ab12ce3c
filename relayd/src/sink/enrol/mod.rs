// SPDX-License-Identifier: Apache-2.0
//! Inventories that enrol nodes (`processing.inventory.output = "registry"`, protocol 6.5).
//!
//! ```text
//! X.ocs.gz ─┐ both there   unpack, read, verify      registry
//!           ├────────────▶ identity and signature ──▶ taken: both are kept in received/, then go
//! X.ocs.sign┘                                     └─▶ refused: both go to failed/ with the reason
//! ```
//! Nothing else of an inventory is looked at. Its newest one of each node stays in `received/`, for
//! whoever wants to know more.

mod inventory;
mod pairs;
mod signature;

use std::{
    fs::{self, DirBuilder},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::Utc;
use openssl::sha::sha512;
use protocol::{
    compression::{self, Compression},
    enrolment::State,
    limits,
    node_id::NodeId,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use self::{
    inventory::Identity,
    pairs::{Pair, Task, Verdicts},
    signature::Signature,
};
use crate::{
    durable::{self, Access},
    registry::{Introduced, Introduction, Registry, RegistryError},
    spool::{
        Sink, SpoolFile,
        disposition::{Disposition, Outcome, Reason, Rejection, Release},
        open_regular,
    },
};

/// Enrols nodes by their inventories.
pub struct Enrol {
    registry: Registry,
    /// Where inventories go that were taken.
    received: PathBuf,
    max_size: u64,
    verdicts: Verdicts,
    /// An inventory may take much memory once unpacked.
    one: Semaphore,
}

/// Mode of what is kept: for the group as well, as in the spool.
const MODE: u32 = 0o640;
/// How soon to look again for the other file of a pair.
const OTHER_FILE: Duration = Duration::from_secs(2);
/// A file whose other one has not come by then is refused.
const ALONE: Duration = Duration::from_secs(600);
/// How soon to try again when too many nodes wait.
const TOO_MANY: Duration = Duration::from_secs(300);

impl Enrol {
    /// Makes it, and `received/` beside the spool. Files larger than `max_size` are refused.
    pub fn new(registry: Registry, inventories: &Path, max_size: u64) -> io::Result<Self> {
        let received = inventories.join("received");
        let made = DirBuilder::new().recursive(true).mode(0o770).create(&received);
        made.map_err(|e| {
            let place = received.display();
            io::Error::new(e.kind(), format!("cannot make {place}: {e}; check the owner of its parent"))
        })?;
        let (verdicts, one) = (Verdicts::default(), Semaphore::new(1));
        Ok(Self { registry, received, max_size, verdicts, one })
    }

    async fn look_at(&self, pair: &Pair) -> Disposition {
        let Ok(_one) = self.one.acquire().await else { return later(false, "stopping", None) };
        let (files, max_size) = (pair.clone(), self.max_size);
        let (introduction, content) = match spawn_blocking(move || read(&files, max_size)).await {
            Ok(Ok(read)) => read,
            Ok(Err(disposition)) => return disposition,
            Err(e) if e.is_panic() => {
                return rejected(
                    Reason::BadContent,
                    "relayd has a fault that this file triggers; please report it",
                );
            }
            Err(_) => return later(false, "stopping", None),
        };
        let node_id = introduction.node_id.clone();
        match self.registry.introduce(introduction).await {
            Ok(Introduced::Taken) => self.keep(content, &node_id).await,
            Ok(Introduced::TooManyPending) | Err(RegistryError::TooManyPending) => {
                later(false, "too many nodes wait for a decision", Some(TOO_MANY))
            }
            Ok(Introduced::BadSignature) => {
                rejected(Reason::BadSignature, "not signed with a key of the node, nor with that in it")
            }
            Ok(Introduced::Answered(answer)) => {
                let reason = match answer.state {
                    State::Conflict => Reason::Conflict,
                    State::Rejected | State::Revoked => Reason::UnknownNode,
                    _ => Reason::BadContent,
                };
                rejected(reason, answer.detail)
            }
            Err(RegistryError::Down(detail)) => later(true, detail, None),
            Err(error @ (RegistryError::Invalid(_) | RegistryError::Refused(_))) => {
                rejected(Reason::BadContent, error.to_string())
            }
        }
    }

    /// Puts both files into `received/`, in place of the former ones of the node: as they were verified,
    /// whatever their names may stand for by now.
    async fn keep(&self, content: Content, node_id: &NodeId) -> Disposition {
        let (received, node) = (self.received.clone(), node_id.clone());
        let work = move || keep(&content, &received, &node);
        match spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(()) => Disposition::Accepted(Outcome::Stored),
            Err(e) => later(false, format!("cannot keep it in {}: {e}", self.received.display()), None),
        }
    }
}

impl Sink for Enrol {
    async fn deliver(&self, file: &SpoolFile) -> Disposition {
        match self.verdicts.task(file) {
            Task::Ended(disposition) => disposition,
            Task::Wait => later(false, "its other file is being looked at", Some(Duration::from_secs(1))),
            Task::Alone if age(&file.path).is_some_and(|age| age < ALONE) => later(
                false,
                "waits for its signature, or for the inventory of this signature",
                Some(OTHER_FILE),
            ),
            Task::Alone => rejected(Reason::BadSignature, "its signature, or its inventory, has not come"),
            Task::LookAt(pair) => {
                let disposition = self.look_at(&pair).await;
                self.verdicts.end(&pair, file, &disposition);
                disposition
            }
        }
    }
}

/// Both files, as they came.
struct Content {
    inventory: Vec<u8>,
    is_packed: bool,
    signature: Vec<u8>,
}

/// From two files to who they say they are from.
fn read(pair: &Pair, max_size: u64) -> Result<(Introduction, Content), Disposition> {
    let signature_file = read_bounded(&pair.signature, signature::MAX_SIZE)?;
    let signature =
        Signature::read(&signature_file).map_err(|e| rejected(Reason::BadSignature, e.to_string()))?;
    let packed = read_bounded(&pair.inventory, max_size)?;
    let is_packed = pair.inventory.extension().is_some_and(|extension| extension == "gz");
    let compression = if is_packed { Compression::Gzip } else { Compression::None };
    let xml = compression::unpack(&packed, compression, limits::INVENTORY_INFLATED).map_err(|e| {
        Disposition::Rejected(Rejection {
            reason: Reason::BadCompression,
            detail: e.to_string(),
            // It may still be written.
            maybe_incomplete: true,
        })
    })?;
    let digest = sha512(&xml);
    let identity = inventory::read(&String::from_utf8_lossy(&xml), Utc::now())
        .map_err(|e| rejected(Reason::BadContent, e.to_string()))?;
    let Identity { node_id, hostname, policy_server, certificate } = identity;
    let is_signed_by = Box::new(move |spki: &[u8]| signature.is_by(spki, &digest));
    let introduction = Introduction { node_id, hostname, policy_server, certificate, is_signed_by };
    Ok((introduction, Content { inventory: packed, is_packed, signature: signature_file }))
}

fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Disposition> {
    let mut content = Vec::new();
    let read = open_regular(path).and_then(|file| file.take(max + 1).read_to_end(&mut content));
    match read {
        Ok(_) if content.len() as u64 > max => {
            Err(rejected(Reason::TooLarge, format!("{} is over {max} bytes", path.display())))
        }
        Ok(_) => Ok(content),
        Err(e) => Err(later(false, format!("cannot read {}: {e}", path.display()), None)),
    }
}

/// Writes both under the name of their node. The inventory may have come packed or not: one of the other
/// kind would not go with the signature.
fn keep(content: &Content, received: &Path, node_id: &NodeId) -> io::Result<()> {
    let path = |kind: &str| received.join(format!("{node_id}{kind}"));
    let (kind, other) = if content.is_packed { (".ocs.gz", ".ocs") } else { (".ocs", ".ocs.gz") };
    durable::replace(&path(kind), &content.inventory, Access::own(MODE))?;
    durable::replace(&path(".ocs.sign"), &content.signature, Access::own(MODE))?;
    match fs::remove_file(path(other)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(path.symlink_metadata().ok()?.modified().ok()?).ok()
}

fn rejected(reason: Reason, detail: impl Into<String>) -> Disposition {
    Disposition::Rejected(Rejection { reason, detail: detail.into(), maybe_incomplete: false })
}

fn later(outlet_down: bool, detail: impl Into<String>, retry_after: Option<Duration>) -> Disposition {
    Disposition::Released(Release { outlet_down, detail: detail.into(), retry_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_read_and_one_pair_per_node() {
        let received = tempfile::tempdir().unwrap();
        let node = "n1".parse().unwrap();
        let content = |inventory: &[u8], is_packed| Content {
            inventory: inventory.into(),
            is_packed,
            signature: b"sign".into(),
        };
        keep(&content(b"packed", true), received.path(), &node).unwrap();
        keep(&content(b"plain", false), received.path(), &node).unwrap();
        let mut names: Vec<_> = fs::read_dir(received.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["n1.ocs", "n1.ocs.sign"]);
        assert_eq!(fs::read(received.path().join("n1.ocs")).unwrap(), b"plain");
    }
}
