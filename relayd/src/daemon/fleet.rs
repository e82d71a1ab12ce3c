// SPDX-License-Identifier: Apache-2.0
//! Whether this server knows the state of the fleet: where run logs are stored.

use std::sync::Arc;

use super::{StartError, services::Services};
use crate::{
    config::{InventoryOutput, RunLogOutput},
    fleet::{Fleet, Settings},
    http::ServiceKind,
};

impl Services<'_> {
    /// Answers questions about the fleet, on a root with a database.
    pub(super) async fn answer_questions(&mut self) -> Result<(), StartError> {
        let has = (self.config.run_logs.output, self.config.inventories.output);
        if matches!(has, (RunLogOutput::Database, _) | (_, InventoryOutput::Database)) {
            let settings = Settings::new(self.config.compliance.run_interval).with(self.advisories().await?);
            let fleet = Fleet::new(self.database().await?, settings);
            self.called.add(ServiceKind::Fleet, Arc::new(fleet));
        }
        Ok(())
    }
}
