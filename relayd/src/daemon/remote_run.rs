// SPDX-License-Identifier: Apache-2.0
//! Remote runs, when the configuration has them.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{http::ServiceKind, nodes::Nodes, remote_run::RemoteRuns, triggers::Triggers};

impl Services<'_> {
    /// Adds what has nodes run; `triggers` reaches their agents.
    pub(super) fn remote_runs(&mut self, nodes: Nodes, triggers: Triggers) -> Result<(), StartError> {
        let Some(settings) = self.config.remote_run.clone() else { return Ok(()) };
        let own_id = &self.config.general.node_id;
        let service = RemoteRuns::new(own_id, nodes, settings, Arc::new(triggers), self.registry)
            .map_err(starting("remote runs"))?;
        self.called.add(ServiceKind::RemoteRun, Arc::new(service));
        Ok(())
    }
}
