// SPDX-License-Identifier: Apache-2.0
//! What the daemon tells of itself in `system/status`, beside the members of protocol 7.3.
//!
//! Each member is an object with a `status` of its own, so that whoever looks for `"error"` finds all.
//!
//! | file | what |
//! |---|---|
//! | [`disk`] | file systems: room in bytes and inodes |
//! | [`rates`] | deliveries per second over the last minute |
//! | [`uplink`] | the server above, by all that talk to it |

pub mod disk;
pub mod rates;
pub mod uplink;

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use self::{disk::Disk, rates::RatesShown, uplink::Uplink};
use crate::{
    api::Outcome,
    config::{Config, RunLogOutput},
    expiry::Shown,
};

/// Makes an [`Overview`]; blocks on disks.
pub type Source = Arc<dyn Fn() -> Overview + Send + Sync>;

/// The members that each daemon has.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// Which server this is.
    pub server: Server,
    /// The server above; not on a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// How much is delivered.
    pub rates: RatesShown,
    /// Until when the certificates of this server are valid.
    pub certificates: Certificates,
    /// Room where files are written.
    pub disk: Disk,
}

/// Which server this is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Always as it should be: it answers.
    status: Outcome,
    /// `root` or `relay`.
    pub role: Role,
    /// Its node id.
    node_id: String,
    /// Version of the program.
    version: &'static str,
    /// When the daemon started, RFC 3339.
    started: String,
    /// Process id.
    pid: u32,
    /// Numeric id of the user that it runs as.
    user_id: u32,
}

/// What a server is for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is at the top.
    Root,
    /// It passes on.
    Relay,
}

impl Role {
    /// By the configuration: what stores run logs, or has nobody above, is a root.
    pub fn of(config: &Config) -> Self {
        let passes_on = config.run_logs.output != RunLogOutput::Database && config.upstream.is_some();
        if config.general.node_id.is_root() || !passes_on { Self::Root } else { Self::Relay }
    }

    /// As in the metric `relayd_info`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Relay => "relay",
        }
    }
}

impl Server {
    /// This process, starting now.
    pub fn new(config: &Config) -> Self {
        Self {
            status: Outcome::Success,
            role: Role::of(config),
            node_id: config.general.node_id.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            started: date(Utc::now()),
            pid: std::process::id(),
            user_id: rustix::process::geteuid().as_raw(),
        }
    }
}

/// Until when the certificates of this server are valid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Certificates {
    /// In error when one has expired, or does within 7 days.
    status: Outcome,
    /// What to do about the first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Each one that is there.
    list: Vec<CertificateShown>,
}

/// A certificate.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CertificateShown {
    /// As in the metric `relayd_certificate_not_after_seconds`.
    name: &'static str,
    /// Where it is.
    file: String,
    /// End of its validity, RFC 3339.
    not_after: String,
    /// Whole days until then; negative when that is over.
    days_left: i64,
}

impl Certificates {
    /// As of now.
    pub fn new(shown: Vec<Shown>, now: DateTime<Utc>) -> Self {
        let urgent = shown.iter().find_map(|one| one.warning.as_ref().filter(|warning| warning.urgent));
        let details = urgent.map(|warning| warning.text.clone());
        let status = if details.is_some() { Outcome::Error } else { Outcome::Success };
        let list = shown.into_iter().map(|one| CertificateShown {
            name: one.label,
            file: one.file.display().to_string(),
            not_after: date(one.not_after),
            days_left: (one.not_after - now).num_days(),
        });
        Self { status, details, list: list.collect() }
    }
}

/// RFC 3339, UTC, to the second.
pub fn date(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
