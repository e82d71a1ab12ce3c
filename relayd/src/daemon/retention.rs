// SPDX-License-Identifier: Apache-2.0
//! Who looks after the age of what is in the database.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{
    retention::{Keeper, Setting},
    spool::clock::SystemClock,
};

impl Services<'_> {
    /// Starts retention where there is a database; partitions for today are there when this returns.
    pub(super) async fn retention(&mut self) -> Result<(), StartError> {
        if !self.config.uses_database() {
            return Ok(());
        }
        let database = self.database().await?;
        let setting = Setting { keep: self.config.retention, own_id: self.config.general.node_id.clone() };
        let registry = self.registry.clone();
        let start = move || Keeper::start(database, setting, Arc::new(SystemClock), &registry);
        let keeper = tokio::task::spawn_blocking(start)
            .await
            .map_err(starting("retention"))?
            .map_err(starting("retention"))?;
        self.tasks.spawn("retention", keeper.run(self.tasks.stop()));
        Ok(())
    }
}
