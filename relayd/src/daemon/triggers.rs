// SPDX-License-Identifier: Apache-2.0
//! Telling agents that they should run.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{http::ServiceKind, nodes::Nodes, triggers::Triggers};

impl Services<'_> {
    /// What tells the agents of this server that they should run. Where remote runs are off nobody may ask
    /// it, and agents find that there is nothing to hear of.
    pub(super) fn triggers(&mut self, nodes: Nodes) -> Result<Triggers, StartError> {
        let triggers = Triggers::new(self.config.triggers.clone(), nodes, self.registry)
            .map_err(starting("the connections of agents"))?;
        if self.config.remote_run.is_some() {
            self.called.add(ServiceKind::Triggers, Arc::new(triggers.clone()));
        }
        self.tasks.spawn("connections of agents", triggers.clone().run(self.tasks.stop()));
        Ok(triggers)
    }
}
