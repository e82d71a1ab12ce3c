// SPDX-License-Identifier: Apache-2.0
//! What a relay has because there is a server above it: a client for it, and the nodes it tells of.

use std::{convert::Infallible, fmt::Display, sync::Arc};

use protocol::certificate;

use super::{StartError, services::Services, starting};
use crate::{
    config::{Upstream, UpstreamTrust},
    gateway::KnowsUpstream,
    nodes::Nodes,
    tree::Follower,
    upstream::{UpstreamClient, files, renewal},
};

/// Tells whether a certificate has a key by which the upstream is known. A file of certificates is read each
/// time: it may be replaced, and who shows an unknown key is rarely the upstream.
pub(super) fn known_by_key(upstream: &Upstream) -> KnowsUpstream {
    match upstream.trust.clone() {
        UpstreamTrust::Pins(pins) => {
            Arc::new(move |shown| pins.iter().any(|pin| pin.matches(shown.spki_der())))
        }
        UpstreamTrust::Anchors(file) => Arc::new(move |shown| {
            let anchors = std::fs::read(&file).ok().and_then(|pem| certificate::read_bundle(&pem).ok());
            anchors.iter().flatten().any(|anchor| anchor.spki_der() == shown.spki_der())
        }),
        UpstreamTrust::Authorities(_) | UpstreamTrust::DangerousNone => Arc::new(|_| false),
    }
}

impl Services<'_> {
    /// The client of the upstream, made when it is first needed.
    pub(super) fn upstream_client(&mut self) -> Result<Arc<UpstreamClient>, StartError> {
        if let Some(client) = &self.upstream_client {
            return Ok(client.clone());
        }
        let upstream = self.config.upstream.as_ref().ok_or("output.upstream.host is not set");
        let upstream = upstream.map_err(starting("the upstream client"))?;
        let client = UpstreamClient::new(upstream, self.registry).map_err(starting("the upstream client"))?;
        let client = Arc::new(client);
        let reloaded = client.clone();
        self.reload_upstream_certificates(upstream, move || reloaded.reload());
        Ok(self.upstream_client.insert(client).clone())
    }

    /// Has certificates for the upstream read again when that is asked for, and when they were replaced.
    pub(super) fn reload_upstream_certificates<E: Display + Send + 'static>(
        &mut self,
        upstream: &Upstream,
        reload: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) {
        let reload: Arc<dyn Fn() -> Result<(), E> + Send + Sync> = Arc::new(reload);
        let asked = reload.clone();
        self.reloaders.add_blocking("upstream certificates", move || asked());
        let watch = renewal::watch(files(upstream), renewal::EVERY, reload, self.tasks.stop());
        self.tasks.spawn("upstream certificates", watch);
    }

    /// Node table from the server above (`nodes.source = "upstream"`).
    pub(super) fn follow_upstream(&mut self) -> Result<Nodes, StartError> {
        let client = self.upstream_client()?;
        let started = Follower::start(&self.config.general, client, self.compatible.clone(), self.registry);
        let (follower, nodes) = started.map_err(starting("the node table"))?;
        let (status, hurry) = (follower.status(), follower.hurry());
        let following = status.clone();
        self.status_line.uplink(Arc::new(move || following.trouble()));
        self.status.push(("nodes", Arc::new(move || status.to_json())));
        // After the certificates: an upstream that did not know them is asked again at once.
        self.reloaders.add_blocking("node table", move || {
            hurry.notify_one();
            Ok::<_, Infallible>(())
        });
        self.tasks.spawn("node table", follower.run(self.tasks.stop()));
        Ok(nodes)
    }
}
