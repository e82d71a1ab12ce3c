// SPDX-License-Identifier: Apache-2.0
//! One request: the order of the checks, and the one line that is logged about a refusal.
//!
//! Everything that can be refused is refused before the body is asked for.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, EXPECT, HeaderMap, TRANSFER_ENCODING},
};
use protocol::{node_id::NodeId, urls::UploadKind};
use tokio::sync::{mpsc, watch};

use super::{
    Door,
    access::{self, Asking},
    answer::{Answer, Refusal, close_after},
    basic_auth::Credentials,
    client::{Client, Peer},
    directory::Directory,
    disk::{DiskWatch, Room},
    guarded_io::Activity,
    metrics::{Counting, GatewayMetrics},
    rate::{Counted, Rates, Weights},
    route::{Route, UploadName},
    throttle::Throttle,
    upload::{self, Budget, Upload},
};
use crate::{config, nodes::Nodes, spool::Hint};

/// A refused body of up to this length is read over, so that the connection can be used again.
const WORTH_SKIPPING: u64 = 8 * 1024;

/// A door with its directory open.
pub struct OpenDoor {
    kind: UploadKind,
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

/// What answers requests.
pub struct Service {
    uuid: Bytes,
    nodes: Nodes,
    weights: watch::Receiver<Arc<Weights>>,
    doors: OpenDoors,
    credentials: Option<Credentials>,
    rates: Rates,
    budget: Budget,
    slowest_body: u64,
    metrics: GatewayMetrics,
    put_off: Throttle,
    refused: Throttle,
    handshakes: Throttle,
}

/// What is known of a request when it is logged.
#[derive(Default)]
struct Seen {
    route: Option<UploadKind>,
    uuid: bool,
    client: Option<Client>,
    name: Option<UploadName>,
}

impl OpenDoor {
    /// A door to an open directory.
    pub fn new(kind: UploadKind, directory: Arc<Directory>, door: Door, high_water_percent: u8) -> Self {
        let disk = DiskWatch::new(directory.fd().clone(), high_water_percent);
        Self { kind, directory, disk, notices: door.notices, max_size: door.max_size }
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

impl Service {
    /// From its section of the configuration and its handles.
    pub fn new(
        settings: &config::Gateway,
        own_id: &NodeId,
        nodes: Nodes,
        weights: watch::Receiver<Arc<Weights>>,
        doors: OpenDoors,
        metrics: GatewayMetrics,
    ) -> Self {
        Self {
            uuid: format!("{own_id}\n").into(),
            nodes,
            weights,
            doors,
            credentials: settings.basic_auth.as_ref().map(Credentials::new),
            rates: Rates::new(settings.uploads_per_minute),
            budget: Budget::new(settings.max_bytes_in_flight),
            slowest_body: settings.slowest_body,
            metrics,
            put_off: Throttle::new(Duration::from_millis(100)),
            refused: Throttle::with_burst(Duration::from_millis(100), 100),
            handshakes: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }

    /// Counts and logs a handshake that did not succeed.
    pub fn handshake_failed(&self, peer: SocketAddr, error: &dyn fmt::Display) {
        self.metrics.tls_failures.inc();
        if let Some(held_back) = self.handshakes.pass() {
            tracing::info!(%peer, %error, held_back, "TLS handshake failed");
        }
    }

    /// Counts and logs a connection that was closed because it was no proper HTTP.
    pub fn malformed(&self, peer: SocketAddr) {
        self.metrics.malformed.inc();
        if let Some(held_back) = self.handshakes.pass() {
            tracing::warn!(%peer, held_back, "malformed HTTP request, connection closed");
        }
    }

    /// Answers a request.
    pub async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Response<Full<Bytes>> {
        let must_close = self.closes_when_refused(request.headers());
        let mut seen = Seen::default();
        let response = match self.try_answer(peer, request, &mut seen).await {
            Ok(answer) => answer.into_response(),
            Err(refusal) => {
                self.log(peer, &seen, &refusal);
                let mut response = refusal.into_response();
                if must_close {
                    close_after(&mut response);
                    activity.leave_unread();
                }
                response
            }
        };
        let status = response.status();
        self.metrics.requests.with_label_values(&[seen.label(), status.as_str()]).inc();
        response
    }

    async fn try_answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        seen: &mut Seen,
    ) -> Result<Answer, Refusal> {
        match Route::parse(request.method(), request.uri().path())? {
            Route::Uuid => {
                seen.uuid = true;
                Ok(Answer::Text(self.uuid.clone()))
            }
            Route::Upload(kind, name) => {
                let door = self.doors.get(kind).ok_or(Refusal::NotFound)?;
                seen.route = Some(kind);
                self.upload(peer, request, door, &name, seen).await
            }
        }
    }

    async fn upload(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        door: &OpenDoor,
        name: &str,
        seen: &mut Seen,
    ) -> Result<Answer, Refusal> {
        let start = Instant::now();
        let (name, counted, weight) = self.admit(peer, request.headers(), door.kind, name, seen)?;
        let length = body_length(request.headers(), door.max_size)?;
        if door.directory.is_stopped() {
            return Err(upload::STOPPED);
        }
        match door.disk.room().await {
            Room::Enough => {}
            Room::Low => return Err(Refusal::Unavailable("the spool's disk is above its high-water mark")),
            Room::Full => return Err(upload::NO_SPACE),
            Room::ReadOnly => return Err(upload::READ_ONLY),
        }
        // Last, so that what was not the client's fault is not counted against it.
        self.rates.count(counted, weight).map_err(Refusal::TooOften)?;
        let _counting = Counting::one(&self.metrics.uploads);
        let upload = Upload {
            name: name.as_str(),
            length,
            is_gzip: name.is_gzip(),
            body: request.into_body(),
            slowest: self.slowest_body,
        };
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
        Ok(answer)
    }

    /// Who asks, for what, and whether it may; then for whom the upload counts.
    fn admit(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        kind: UploadKind,
        name: &str,
        seen: &mut Seen,
    ) -> Result<(UploadName, Counted, u32), Refusal> {
        let table = self.nodes.borrow().clone();
        let client = &*seen.client.insert(peer.client(&table));
        let password = self.credentials.as_ref().map(|credentials| credentials.allow(kind, headers));
        let asking = Asking { client, password };
        access::check_identity(&asking)?;
        let name = &*seen.name.insert(UploadName::parse(kind, name)?);
        access::check_upload(kind, name, &asking, &table)?;
        let (counted, weight) = match client {
            Client::Node(node) => (Counted::Node(node.clone()), self.weights.borrow().of_node(node)),
            // With a password, the name alone says who; only names of the list are bounded.
            _ => match name.node_id().filter(|node| table.list().get(node).is_some()) {
                Some(node) => (Counted::Node(node), 1),
                None => (Counted::by_address(peer.address.ip()), 1),
            },
        };
        Ok((name.clone(), counted, weight))
    }

    /// Whether a refused body is too long to be read over. A client that waits for `100` has not
    /// sent it, and may or may not when it gets another answer.
    fn closes_when_refused(&self, headers: &HeaderMap) -> bool {
        let length = content_length(headers).unwrap_or(0);
        headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(EXPECT) || length > WORTH_SKIPPING
    }

    fn log(&self, peer: &Peer, seen: &Seen, refusal: &Refusal) {
        if seen.route.is_none() {
            tracing::debug!(peer = %peer.address, status = refusal.status().as_u16(), "request refused");
            return;
        }
        // Whoever floods, with or without an identity, or a full disk, must not fill the log as well.
        let throttle = if refusal.is_temporary() { &self.put_off } else { &self.refused };
        let Some(held_back) = throttle.pass() else { return };
        let (queue_id, node_id) = (
            seen.name.as_ref().map(|name| tracing::field::display(name.queue_id())),
            seen.name.as_ref().and_then(UploadName::node_id).map(tracing::field::display),
        );
        tracing::warn!(
            queue_id,
            node_id,
            client = seen.client.as_ref().map(tracing::field::debug),
            peer = %peer.address,
            status = refusal.status().as_u16(),
            // Reasons may quote what the client sent.
            reason = %refusal.reason().escape_debug(),
            held_back,
            "upload refused"
        );
    }
}

impl Seen {
    fn label(&self) -> &'static str {
        match self.route {
            Some(kind) => kind.segment(),
            None if self.uuid => "uuid",
            None => "other",
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The length of the body that follows, which must be known and small enough.
fn body_length(headers: &HeaderMap, most: u64) -> Result<u64, Refusal> {
    // RFC 9110, 14.5: a server that does not know partial uploads must not store them as whole.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::BadRequest("partial uploads are not taken"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::BadRequest("a Content-Encoding is not taken: the file is stored as it comes"));
    }
    match content_length(headers) {
        _ if headers.contains_key(TRANSFER_ENCODING) => Err(Refusal::LengthRequired),
        None => Err(Refusal::LengthRequired),
        Some(length) if length > most => Err(Refusal::TooLarge(most)),
        Some(length) => Ok(length),
    }
}
