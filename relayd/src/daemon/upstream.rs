// SPDX-License-Identifier: Apache-2.0
//! What a relay has because there is a server above it: a client for it, and the nodes it tells of.

use std::{convert::Infallible, sync::Arc};

use super::{StartError, services::Services, starting};
use crate::{nodes::Nodes, tree::Follower, upstream::UpstreamClient};

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
        self.reloaders.add_blocking("upstream certificates", move || reloaded.reload());
        Ok(self.upstream_client.insert(client).clone())
    }

    /// Node table from the server above (`nodes.source = "upstream"`).
    pub(super) fn follow_upstream(&mut self) -> Result<Nodes, StartError> {
        let client = self.upstream_client()?;
        let started = Follower::start(&self.config.general, client, self.compatible.clone(), self.registry);
        let (follower, nodes) = started.map_err(starting("the node table"))?;
        let (status, hurry) = (follower.status(), follower.hurry());
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
