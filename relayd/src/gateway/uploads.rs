// SPDX-License-Identifier: Apache-2.0
//! Uploads: which door, whether there is room and rate, and then the file.
//!
//! Everything that can be refused is refused before the body is asked for.

use std::{sync::Arc, time::Instant};

use hyper::{body::Incoming, header::HeaderMap};
use protocol::urls::UploadKind;
use tokio::sync::{mpsc, watch};

use super::{
    Door,
    access::Asked,
    answer::{Answer, Refusal},
    basic_auth::Credentials,
    client::{Client, Peer},
    directory::Directory,
    disk::{DiskWatch, Room},
    metrics::{Counting, GatewayMetrics},
    rate::{Counted, Rates, Weights},
    route::UploadName,
    upload::{self, Budget, Upload},
};
use crate::{config, http::announced_length, resend::ResendSince, spool::Hint};

/// A door with its directory open.
pub struct OpenDoor {
    directory: Arc<Directory>,
    disk: DiskWatch,
    notices: mpsc::Sender<Hint>,
    max_size: u64,
}

/// The doors, by kind of upload.
pub struct OpenDoors {
    /// `/reports/`.
    pub run_logs: Option<OpenDoor>,
    /// `/inventories/`.
    pub new_inventories: Option<OpenDoor>,
    /// `/inventory-updates/`.
    pub inventory_updates: Option<OpenDoor>,
}

/// What counts of an upload that was let in.
pub struct UploadCount {
    who: Counted,
    weight: u32,
    /// Of the body, in bytes.
    length: u64,
}

/// What takes uploads in.
pub struct Uploads {
    doors: OpenDoors,
    credentials: Option<Credentials>,
    rates: Rates,
    weights: watch::Receiver<Arc<Weights>>,
    budget: Budget,
    slowest_body: u64,
    resend: ResendSince,
    metrics: GatewayMetrics,
}

impl OpenDoor {
    /// A door to an open directory.
    pub fn new(directory: Arc<Directory>, door: Door, high_water_percent: u8) -> Self {
        let disk = DiskWatch::new(directory.fd().clone(), directory.path().to_owned(), high_water_percent);
        Self { directory, disk, notices: door.notices, max_size: door.max_size }
    }

    /// The length that the body has to have.
    pub fn length(&self, headers: &HeaderMap) -> Result<u64, Refusal> {
        Ok(announced_length(headers, self.max_size)?)
    }
}

impl OpenDoors {
    fn get(&self, kind: UploadKind) -> Option<&OpenDoor> {
        match kind {
            UploadKind::RunLog => self.run_logs.as_ref(),
            UploadKind::NewInventory => self.new_inventories.as_ref(),
            UploadKind::InventoryUpdate => self.inventory_updates.as_ref(),
        }
    }
}

impl Uploads {
    /// From its section of the configuration and its handles.
    pub fn new(
        settings: &config::Gateway,
        weights: watch::Receiver<Arc<Weights>>,
        doors: OpenDoors,
        resend: ResendSince,
        metrics: GatewayMetrics,
    ) -> Self {
        Self {
            doors,
            credentials: settings.basic_auth.as_ref().map(Credentials::new),
            rates: Rates::new(settings.uploads_per_minute),
            weights,
            budget: Budget::new(settings.max_bytes_in_flight),
            slowest_body: settings.slowest_body,
            resend,
            metrics,
        }
    }

    /// The door for this kind of upload.
    pub fn door(&self, kind: UploadKind) -> Result<&OpenDoor, Refusal> {
        self.doors.get(kind).ok_or(Refusal::NotFound)
    }

    /// Whether a request has the password for this kind; `None` when passwords are off.
    pub fn password(&self, kind: UploadKind, headers: &HeaderMap) -> Option<bool> {
        self.credentials.as_ref().map(|credentials| credentials.allow(kind, headers))
    }

    /// Takes in an upload that was let in.
    pub async fn take(
        &self,
        door: &OpenDoor,
        name: &UploadName,
        UploadCount { who, weight, length }: UploadCount,
        peer: &Peer,
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        let start = Instant::now();
        if door.directory.is_stopped() {
            return Err(upload::STOPPED);
        }
        match door.disk.room().await {
            Room::Enough => {}
            Room::Low => return Err(Refusal::Unavailable("the spool's disk is above its high-water mark")),
            Room::Full => return Err(upload::NO_SPACE),
            Room::ReadOnly => return Err(upload::READ_ONLY),
            Room::Elsewhere => return Err(upload::ELSEWHERE),
        }
        // Last, so that what was not the client's fault is not counted against it.
        self.rates.count(who, weight).map_err(Refusal::TooOften)?;
        let _counting = Counting::one(&self.metrics.uploads);
        let upload =
            Upload { name: name.as_str(), length, is_gzip: name.is_gzip(), body, slowest: self.slowest_body };
        let answer = upload::receive(upload, &door.directory, &self.budget, &self.metrics).await?;
        // A lost notice is made up for by the spool's sweep.
        let _ = door.notices.try_send(name.as_str().to_owned());
        self.metrics.upload_seconds.observe(start.elapsed().as_secs_f64());
        tracing::debug!(
            queue_id = %name.queue_id(),
            node_id = name.node_id().as_ref().map(tracing::field::display),
            peer = %peer.address,
            length,
            "upload stored"
        );
        Ok(match name {
            UploadName::RunLog(_) => answer.asking(self.resend.header()),
            UploadName::Inventory(_) => answer,
        })
    }

    /// For whom an upload counts, and how many it speaks for.
    pub fn counted(&self, name: &UploadName, length: u64, asked: &Asked<'_>) -> UploadCount {
        let (who, weight) = match asked.client {
            Client::Node(node) => (Counted::Node(node.clone()), self.weights.borrow().of_node(node)),
            // With a password, the name alone says who; only names of the list are bounded.
            _ => match name.node_id().filter(|node| asked.table.knows(node)) {
                Some(node) => (Counted::Node(node), 1),
                None => (Counted::by_address(asked.peer.address.ip()), 1),
            },
        };
        UploadCount { who, weight, length }
    }
}
