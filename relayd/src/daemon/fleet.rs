// SPDX-License-Identifier: Apache-2.0
//! Whether this server knows the state of the fleet: where run logs are stored.

use std::sync::Arc;

use super::{StartError, services::Services};
use crate::{
    config::RunLogOutput,
    fleet::{Fleet, Settings},
    http::ServiceKind,
};

impl Services<'_> {
    /// Answers questions about the fleet, on a root with a database.
    pub(super) async fn answer_questions(&mut self) -> Result<(), StartError> {
        if self.config.run_logs.output == RunLogOutput::Database {
            let settings = Settings::new(self.config.compliance.run_interval);
            let fleet = Fleet::new(self.database().await?, settings);
            self.called.add(ServiceKind::Fleet, Arc::new(fleet));
        }
        Ok(())
    }
}
