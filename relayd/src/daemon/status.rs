// SPDX-License-Identifier: Apache-2.0
//! What `system/status` says of the services that were started.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::services::Services;
use crate::{
    api,
    config::{InventoryOutput, NodesSource, RunLogOutput},
    spool::{self, metrics::GateState},
    status::{Certificates, Overview, Server, Source, disk::Disk, rates::Rates, uplink::Uplink},
};

impl Services<'_> {
    /// What each daemon tells of itself. After all services: it shows them.
    pub(super) fn overview(&mut self) -> Source {
        self.count_nodes();
        let rates = Rates::new(self.spools.clone());
        self.tasks.spawn("rates", rates.clone().run(self.tasks.stop()));
        let (config, server) = (self.config.clone(), Server::new(self.config));
        let (expiry, users) = (self.expiry.clone(), self.users_of_uplink());
        Arc::new(move || {
            let uplink = config.upstream.as_ref();
            Overview {
                server: server.clone(),
                uplink: uplink.map(|up| Uplink::of(up, users.iter().map(|(name, state)| (*name, state())))),
                rates: rates.shown(),
                certificates: Certificates::new(
                    expiry.as_ref().map(|expiry| expiry.shown()).unwrap_or_default(),
                    Utc::now(),
                ),
                disk: Disk::of(&config),
            }
        })
    }

    /// Adds how many nodes there are to what the source of nodes says, or says only that.
    fn count_nodes(&mut self) {
        let at = self.status.iter().position(|(name, _)| *name == "nodes");
        let told = at.map(|at| self.status.remove(at).1);
        let (all, direct) = (self.compatible.sub_nodes.clone(), self.compatible.managed_nodes.clone());
        let source = match self.config.nodes.source {
            NodesSource::Files => "files",
            NodesSource::Database => "database",
            NodesSource::Upstream => "upstream",
        };
        let nodes: api::Status = Arc::new(move || {
            let mut state =
                told.as_ref().map_or_else(|| serde_json::json!({"status": "success"}), |told| told());
            state["source"] = source.into();
            state["known"] = all.get().into();
            state["direct"] = direct.get().into();
            state
        });
        self.status.push(("nodes", nodes));
    }

    /// Those that talk to the server above.
    fn users_of_uplink(&self) -> Vec<(&'static str, api::Status)> {
        let talks = |name: &str| match name {
            "reports" => self.config.run_logs.output == RunLogOutput::Upstream,
            "inventories" | "inventory-updates" => {
                self.config.inventories.output == InventoryOutput::Upstream
            }
            "nodes" => self.config.nodes.source == NodesSource::Upstream,
            "cache" => true,
            _ => false,
        };
        self.status.iter().filter(|(name, _)| talks(name)).cloned().collect()
    }
}

/// The state of a spool, as `system/status` has it.
pub(super) fn spool_state(status: &spool::Status) -> Value {
    let date = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut state = serde_json::json!({
        "status": "success",
        "depth": status.depth(),
        "oldestAgeSeconds": status.oldest_age().as_secs(),
        "inFlight": status.in_flight(),
        "failed": status.failed(),
    });
    if let GateState::Closed { why, since } = status.gate() {
        state["status"] = "error".into();
        state["details"] = why.into();
        state["since"] = date(since).into();
    }
    if let Some(last) = status.put_off() {
        state["lastPutOff"] =
            serde_json::json!({"file": last.file, "details": last.why, "at": date(last.at)});
    }
    state
}
