// SPDX-License-Identifier: Apache-2.0
//! The evidence, gathered within bounds. Changes nothing: not even a database is made.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use hyper::{HeaderMap, header::DATE};
use prometheus::Registry;
use protocol::{
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
    proxy::ProxyRule,
};
use serde_json::Value;

use super::{
    bundle::{self, Bundle},
    files::{self, Files},
    stored::{self, Stored},
};
use crate::{
    api::client::{self, Away},
    config::{Config, NodesSource, RunLogOutput, Upstream},
    finding::{Finding, split},
    nodes::read_list,
    upstream::{FetchLimits, UpstreamClient},
};

/// How much is looked at, and how long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For daemon, database and uplink together.
    pub wait: Duration,
    /// Names in `incoming/` and in `failed/`, each.
    pub names: usize,
    /// Bytes of the certificate bundle.
    pub bundle: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { wait: Duration::from_millis(150), names: 50_000, bundle: 32 << 20 }
    }
}

/// Why something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It failed: cause and remedy.
    Failed(String, String),
    /// It did not answer for this long.
    Late(Duration),
    /// It could not be asked from here: why, and how it could.
    Unasked(String, String),
}

/// Who does not answer for this long is not only slow, or far away.
const PATIENCE: Duration = Duration::from_secs(2);

impl Trouble {
    /// What is said of it. A server that is some tens of milliseconds away, or a machine that is busy, is late
    /// for a short wait, and works: that is no cause. What failed is one, and so is who keeps silent for long.
    pub fn finding(&self, check: &'static str, place: &str, late: &str) -> Finding {
        match self {
            Self::Failed(cause, remedy) => Finding::error(check, place, cause, remedy),
            Self::Unasked(cause, remedy) => Finding::unknown(check, place, cause, remedy),
            Self::Late(wait) if *wait >= PATIENCE => {
                Finding::error(check, place, format!("it does not answer within {wait:?}"), late)
            }
            Self::Late(wait) => {
                let text =
                    format!("it did not answer within {wait:?}: it is slow or far away, or does not work");
                let remedy = format!("ask again with `--wait {}s`", 2 * PATIENCE.as_secs() + 1);
                Finding::unknown(check, place, text, remedy)
            }
        }
    }
}

/// Something that was looked at.
pub type Look<T> = Result<T, Trouble>;

/// What is known.
pub struct Evidence<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// When the question was asked.
    pub now: DateTime<Utc>,
    /// The same, to tell how long the answer took.
    pub begun: Instant,
    /// Whom somebody asked for.
    pub asked: &'a str,
    /// The node.
    pub node: Option<NodeId>,
    /// The node list.
    pub list: Look<NodeList>,
    /// Certificates of the node.
    pub bundle: Bundle,
    /// What `system/status` says.
    pub daemon: Result<Value, Away>,
    /// Its files.
    pub files: Files,
    /// What time it is at the server above, as far as that says it; `None`: there is none.
    pub uplink: Option<Look<Option<DateTime<Utc>>>>,
    /// What is stored; `None`: this server stores nothing.
    pub stored: Option<Look<Stored>>,
}

/// What somebody asked for may be several nodes.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} may mean {}; write one as id:ID", named.join(", "))]
pub struct AmbiguousName {
    text: String,
    named: Vec<String>,
}

/// Most nodes that are named when a text may mean several.
const MOST_NAMED: usize = 10;

impl<'a> Evidence<'a> {
    /// Gathers. Takes [`Bounds::wait`] at most when others do not answer, and some more for files.
    pub fn gather(config: &'a Config, asked: &'a str, bounds: Bounds) -> Result<Self, AmbiguousName> {
        let (begun, now) = (Instant::now(), Utc::now());
        let asking = {
            let listen = config.general.listen.clone();
            // Its own limit, so that it says who is late.
            aside(move || client::status(&listen, bounds.wait))
        };
        // Its own limit comes later than the end of the wait: who is late has not failed.
        let trying =
            config.upstream.clone().map(|upstream| aside(move || try_uplink(&upstream, bounds.wait + LATER)));
        let list = list(config);
        let listed = one_of(list.as_ref().ok(), asked)?;
        let looking = (config.run_logs.output == RunLogOutput::Database).then(|| {
            let (config, asked, listed) = (config.clone(), asked.to_owned(), listed.clone());
            aside(move || stored::look(&config, &asked, listed))
        });
        let wait = |begun: Instant| bounds.wait.saturating_sub(begun.elapsed());
        // A node that is not accepted yet is in the registry only: then the rest has to wait for that.
        let mut early = None;
        let node = match (listed, &looking) {
            (Some(node), _) => Some(node),
            (None, Some(looking)) if config.nodes.source == NodesSource::Database => {
                let stored = late(looking.recv_timeout(wait(begun)).ok(), bounds.wait);
                let found = stored.as_ref().ok().and_then(|stored| stored.node.as_ref());
                let found = found.map(|found| found.node.node_id.clone());
                early = Some(stored);
                found.or_else(|| parse(asked))
            }
            _ => parse(asked),
        };
        let (files, bundle) = thread::scope(|scope| {
            let bundle = scope.spawn(|| bundle::look(config, node.as_ref(), bounds.bundle));
            let files = node.as_ref().map(|node| files::look(config, node, bounds.names, now));
            (files.unwrap_or_default(), bundle.join().unwrap_or(Bundle::NotNeeded))
        });
        let stored = looking.map(|looking| {
            early.unwrap_or_else(|| late(looking.recv_timeout(wait(begun)).ok(), bounds.wait))
        });
        let uplink = trying.map(|trying| late(trying.recv_timeout(wait(begun)).ok(), bounds.wait));
        let daemon = asking.recv_timeout(wait(begun) + GRACE).unwrap_or_else(|_| {
            let why = format!("no answer within {:?}", bounds.wait);
            Err(Away { place: client::place(&config.general.listen), why, is_absent: false })
        });
        Ok(Self { config, now, begun, asked, node, list, bundle, daemon, files, uplink, stored })
    }

    /// The node in the node list.
    pub fn entry(&self) -> Option<&NodeEntry> {
        self.list.as_ref().ok()?.get(self.node.as_ref()?)
    }

    /// What is stored, where that could be looked at.
    pub fn stored(&self) -> Option<&Stored> {
        self.stored.as_ref()?.as_ref().ok()
    }

    /// Why the outlet of run logs is closed, by the word of the daemon.
    pub fn outlet_down(&self) -> Option<&str> {
        let reports = &self.daemon.as_ref().ok()?["reports"];
        (reports["status"] == "error").then(|| reports["details"].as_str().unwrap_or("the outlet is down"))
    }

    /// The node, for people.
    pub fn name(&self) -> String {
        match (&self.node, self.entry()) {
            (Some(node), Some(entry)) if !entry.hostname.is_empty() => format!("{} ({node})", entry.hostname),
            (Some(node), _) => node.to_string(),
            (None, _) => self.asked.to_owned(),
        }
    }
}

/// The daemon's client says itself that it is late; that must not come too late.
const GRACE: Duration = Duration::from_millis(10);
/// Time that files may take after the wait has ended.
const LATER: Duration = Duration::from_secs(10);

/// Does something on a thread of its own. Nobody waits for one that is late: the process ends.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    // Without a thread there is no answer, which is what is said then.
    let _ = thread::Builder::new().name("why".into()).spawn(move || sender.send(work()));
    receiver
}

fn late<T>(result: Option<Look<T>>, wait: Duration) -> Look<T> {
    result.unwrap_or(Err(Trouble::Late(wait)))
}

fn list(config: &Config) -> Look<NodeList> {
    let remedy = "mend it, or have it written again; then `systemctl reload rudder-relayd`";
    read_list(&config.general.nodes_list_file).map_err(|error| {
        let (cause, remedy) = split(&error, remedy);
        Trouble::Failed(cause, remedy)
    })
}

fn one_of(list: Option<&NodeList>, asked: &str) -> Result<Option<NodeId>, AmbiguousName> {
    let Some(list) = list else { return Ok(None) };
    match list.meant_by(asked).as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => Err(AmbiguousName {
            text: asked.to_owned(),
            named: several.iter().take(MOST_NAMED).map(|node| format!("id:{node}")).collect(),
        }),
    }
}

fn parse(asked: &str) -> Option<NodeId> {
    asked.strip_prefix("id:").unwrap_or(asked).parse().ok()
}

/// Asks the server above for its id, which anybody may.
pub fn try_uplink(upstream: &Upstream, wait: Duration) -> Look<Option<DateTime<Utc>>> {
    let failed = |error: &dyn std::fmt::Display| {
        let otherwise = "see that it runs and is reached from here, and [output.upstream]";
        let (cause, remedy) = split(error, otherwise);
        Trouble::Failed(cause, remedy)
    };
    if upstream.proxy == ProxyRule::Untold {
        let cause = "its proxy is a credential, which cannot be read here";
        return Err(Trouble::Unasked(cause.into(), "start the service, which has it".into()));
    }
    let client = UpstreamClient::new(upstream, &Registry::new()).map_err(|error| failed(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let limits = FetchLimits { answer: wait, pause: wait, body: 64 * 1024 };
    let answer = runtime.block_on(client.fetch("/uuid", HeaderMap::new(), limits));
    let answer = answer.map_err(|error| failed(&error))?;
    let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| date.to_utc()))
}
