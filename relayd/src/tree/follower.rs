// SPDX-License-Identifier: Apache-2.0
//! The asking side: a relay learns from its upstream which nodes are below it, and publishes that.
//!
//! It starts with the copy on disk, then asks for ever, each time with the version it has, and waits for
//! the answer while nothing changes. Whatever goes wrong, the last good table stays.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{
    HeaderMap, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH},
};
use prometheus::Registry;
use protocol::{
    compression::{Compression, CompressionError, unpack},
    node_id::NodeId,
    node_list::NodeList,
    node_tree::{TreeDocument, TreeDocumentError, is_version},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    backoff::Backoff,
    copy::ListCopy,
    metrics::{Heard, Metrics},
};
use crate::{
    config,
    metrics::CompatibleMetrics,
    nodes::{NodeTable, Nodes},
    spool::disposition::printable,
    upstream::{Failure, FetchLimits, Fetched, UpstreamClient, retry_after},
    worker::Worker,
};

/// Keeps the node table of a relay like that of its upstream.
pub struct Follower {
    own_id: NodeId,
    copy: ListCopy,
    upstream: Arc<UpstreamClient>,
    sender: watch::Sender<Arc<NodeTable>>,
    /// Of the table, when the upstream said it in this life.
    version: Option<String>,
    /// Whether the upstream may wait for news: after trouble, that it answers at all is news.
    patient: bool,
    metrics: Metrics,
    compatible: CompatibleMetrics,
    worker: Worker,
    status: FollowerStatus,
    hurry: Arc<Notify>,
}

/// How following goes, for people.
#[derive(Debug, Clone, Default)]
pub struct FollowerStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    confirmed: Option<DateTime<Utc>>,
    /// Since when it does not work, and why.
    trouble: Option<(DateTime<Utc>, String)>,
}

/// Why following cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FollowerError {
    /// A metric is registered twice.
    #[error("metrics of the node tree: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why an attempt brought nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    NoAnswer(#[from] Failure),
    #[error("the upstream answered {status}: {text}{hint}")]
    Refused { status: StatusCode, text: String, hint: &'static str, retry_after: Option<Duration> },
    #[error("the upstream sent a document that cannot be used: {0}")]
    Packed(#[from] CompressionError),
    #[error("the upstream sent a document that cannot be used: {0}")]
    Document(#[from] TreeDocumentError),
    #[error("the upstream sent a document without this relay, {0}, itself in it")]
    Strange(NodeId),
}

/// How long the upstream may wait for news; a dead connection is noticed 15 s later.
const WAIT: HeaderValue = HeaderValue::from_static("wait=60");
const LIMITS: FetchLimits =
    FetchLimits { answer: Duration::from_secs(75), pause: Duration::from_secs(15), body: MOST };
/// Largest document, packed or not, in bytes: that of some 500,000 nodes.
const MOST: u64 = 128 << 20;
/// Between a change and the next question: what changes at the same time comes together.
const AFTER_CHANGE: Duration = Duration::from_millis(200);
/// An upstream that does not wait is not asked more often than this.
const BETWEEN_UNCHANGED: Duration = Duration::from_secs(5);
const PREFER: HeaderName = HeaderName::from_static("prefer");

impl Follower {
    /// Publishes the copy on disk, if it can be read. Blocks.
    pub fn start(
        general: &config::General,
        upstream: Arc<UpstreamClient>,
        compatible: CompatibleMetrics,
        registry: &Registry,
    ) -> Result<(Self, Nodes), FollowerError> {
        let copy = ListCopy::new(general.nodes_list_file.clone());
        let path = copy.path().display();
        let list = match copy.read() {
            Ok(Some(list)) => list,
            Ok(None) => {
                info!("no copy of the node list at {path}: no node is known until the upstream answers");
                NodeList::default()
            }
            Err(error) => {
                error!(
                    "the copy of the node list at {path} cannot be used: {error}; no node is known until the \
                     upstream answers, which replaces it"
                );
                NodeList::default()
            }
        };
        let (sender, nodes) = watch::channel(Arc::default());
        let follower = Self {
            own_id: general.node_id.clone(),
            copy,
            upstream,
            sender,
            version: None,
            patient: false,
            metrics: Metrics::new(registry)?,
            compatible,
            worker: Worker::start("node-tree")?,
            status: FollowerStatus::default(),
            hurry: Arc::default(),
        };
        follower.publish(NodeTable::new(list, Vec::new()));
        Ok((follower, nodes))
    }

    /// How it goes.
    pub fn status(&self) -> FollowerStatus {
        self.status.clone()
    }

    /// Ends a pause between attempts: certificates were renewed, or an operator wants it.
    pub fn hurry(&self) -> Arc<Notify> {
        self.hurry.clone()
    }

    /// Asks until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut written = self.sender.subscribe();
        written.mark_unchanged();
        let keep = self.copy.clone().keep(written, self.worker.clone(), stop.clone());
        let follow = async {
            // An answer that is waited for is of no use to a daemon that stops.
            stop.run_until_cancelled(self.follow()).await;
        };
        tokio::join!(keep, follow);
        Ok(())
    }

    async fn follow(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let (asked, waited) = (Instant::now(), self.patient);
            let pause = match self.ask().await {
                Ok(heard) => {
                    backoff.reset();
                    self.patient = true;
                    self.confirmed(heard);
                    match heard {
                        Heard::Nothing if waited => BETWEEN_UNCHANGED.saturating_sub(asked.elapsed()),
                        Heard::Nothing => Duration::ZERO,
                        Heard::All | Heard::Changes => AFTER_CHANGE,
                    }
                }
                Err(trouble) => {
                    self.patient = false;
                    if trouble.is_about_the_document() {
                        self.version = None;
                    }
                    self.failed(&trouble);
                    backoff.pause(trouble.retry_after())
                }
            };
            // Ends early when somebody is in a hurry.
            let _ = timeout(pause, self.hurry.notified()).await;
        }
    }

    async fn ask(&mut self) -> Result<Heard, Trouble> {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        let version = self.version.as_ref().map(|version| HeaderValue::try_from(format!("\"{version}\"")));
        if let Some(Ok(version)) = version {
            headers.insert(IF_NONE_MATCH, version);
            if self.patient {
                headers.insert(PREFER, WAIT);
            }
        }
        let answer = self.upstream.fetch("/nodes?changes", headers, LIMITS).await?;
        match answer.status {
            StatusCode::OK => self.take(answer).await,
            StatusCode::NOT_MODIFIED if self.version.is_some() => {
                if let Some(version) = version_of(&answer.headers) {
                    self.version = Some(version);
                }
                Ok(Heard::Nothing)
            }
            _ => Err(refused(&answer)),
        }
    }

    /// Takes a document over: all of it or nothing.
    async fn take(&mut self, answer: Fetched) -> Result<Heard, Trouble> {
        let (own_id, table) = (self.own_id.clone(), self.sender.borrow().clone());
        let taken = self.worker.run(move || read(&answer, &table, &own_id)).await?;
        if let Some(table) = taken.table {
            self.publish(table);
        }
        self.version = Some(taken.version);
        Ok(taken.heard)
    }

    fn publish(&self, table: NodeTable) {
        let count = |nodes: usize| i64::try_from(nodes).unwrap_or(i64::MAX);
        self.compatible.sub_nodes.set(count(table.list().len()));
        self.compatible.managed_nodes.set(count(table.list().direct(&self.own_id).count()));
        self.sender.send_replace(Arc::new(table));
    }

    fn confirmed(&self, heard: Heard) {
        let now = Utc::now();
        self.metrics.heard(heard, now.timestamp());
        let mut state = self.status.lock();
        state.confirmed = Some(now);
        if let Some((since, _)) = state.trouble.take() {
            let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
            info!("the upstream says again which nodes are below this relay; it did not since {since}");
        }
    }

    fn failed(&self, trouble: &Trouble) {
        self.metrics.failed();
        let text = trouble.to_string();
        let mut state = self.status.lock();
        let since = match &state.trouble {
            Some((_, known)) if *known == text => return,
            Some((since, _)) => *since,
            None => Utc::now(),
        };
        let nodes = self.sender.borrow().list().len();
        warn!(
            "the nodes below this relay cannot be learned from the upstream: {text}; the {nodes} known stay"
        );
        state.trouble = Some((since, text));
    }
}

impl FollowerStatus {
    /// When the upstream last said which nodes there are, and if it does not now, since when and why.
    pub fn to_json(&self) -> serde_json::Value {
        let state = self.lock();
        let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut json =
            serde_json::json!({ "status": "success", "confirmed": state.confirmed.as_ref().map(time) });
        if let Some((since, why)) = &state.trouble {
            json["status"] = "error".into();
            json["details"] = why.clone().into();
            json["since"] = time(since).into();
        }
        json
    }

    /// Why the upstream does not say it now.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.as_ref().map(|(_, why)| why.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// Whether the same question may well bring the same again: then all nodes are asked for.
    fn is_about_the_document(&self) -> bool {
        match self {
            Self::NoAnswer(failure) => matches!(failure, Failure::TooLarge(_)),
            Self::Refused { .. } => false,
            Self::Packed(_) | Self::Document(_) | Self::Strange(_) => true,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What a document came to.
struct Taken {
    version: String,
    heard: Heard,
    /// `None` when it says what is known already.
    table: Option<NodeTable>,
}

fn read(answer: &Fetched, table: &NodeTable, own_id: &NodeId) -> Result<Taken, Trouble> {
    let packed = answer.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    let json = unpack(&answer.body, if packed { Compression::Gzip } else { Compression::None }, MOST)?;
    let document = TreeDocument::from_json(&json)?;
    drop(json);
    let version = document.version.clone();
    let heard = if document.full { Heard::All } else { Heard::Changes };
    let list = document.apply(table.list().clone());
    // An upstream knows who asks; without that it has lost its own list.
    if list.get(own_id).is_none() {
        return Err(Trouble::Strange(own_id.clone()));
    }
    let table = (list != *table.list()).then(|| NodeTable::new(list, Vec::new()));
    Ok(Taken { version, heard, table })
}

fn version_of(headers: &HeaderMap) -> Option<String> {
    let version = headers.get(ETAG)?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
    is_version(version).then(|| version.to_owned())
}

fn refused(answer: &Fetched) -> Trouble {
    let hint = match answer.status.as_u16() {
        401 | 403 => {
            "; is this relay accepted there (`relayd node accept --relay`), with the key of output.upstream?"
        }
        404 => "; does it tell relays which nodes are below them?",
        300..=399 => "; redirects are not followed, check output.upstream.host",
        _ => "",
    };
    let excerpt = &answer.body[..answer.body.len().min(512)];
    Trouble::Refused {
        status: answer.status,
        text: printable(String::from_utf8_lossy(excerpt).trim()),
        hint,
        retry_after: retry_after(&answer.headers, SystemTime::now()),
    }
}
