// SPDX-License-Identifier: Apache-2.0
//! Advisories for the report of vulnerable packages, where the operator provides some.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{
    advisories::{
        current::Current,
        exposure::Matched,
        report::{self, Filter},
    },
    fleet::{Paging, Trouble, for_reading},
};

impl Services<'_> {
    /// Reads them in the background, and again when they change; files that are broken keep nothing from
    /// starting.
    pub(super) async fn advisories(&mut self) -> Result<Option<Arc<Current>>, StartError> {
        let Some(path) = self.config.inventories.advisories.clone() else { return Ok(None) };
        let current = Arc::new(Current::new(path, self.registry).map_err(starting("advisories"))?);
        let database = self.database().await?;
        let warm = move |matched: &Matched| {
            let asked = database.connect().and_then(for_reading).map_err(Trouble::from).and_then(|mut c| {
                let first = Paging { after: None, limit: 1 };
                report::by_advisory(&mut c, matched, &Filter::default(), &first)
            });
            if let Err(trouble) = asked {
                tracing::warn!(
                    "packages of the fleet could not be compared with new advisories yet: {trouble}"
                );
            }
        };
        self.tasks.spawn("advisories", current.clone().run(warm, self.tasks.stop()));
        let reloaded = current.clone();
        self.reloaders.add_blocking("advisories", move || reloaded.refresh(true));
        let shown = current.clone();
        self.status.push(("advisories", Arc::new(move || serde_json::json!(shown.shown()))));
        Ok(Some(current))
    }
}
