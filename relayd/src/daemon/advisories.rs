// SPDX-License-Identifier: Apache-2.0
//! Advisories for the report of vulnerable packages, where the operator provides some.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::advisories::current::Current;

impl Services<'_> {
    /// Reads them in the background, and again when they change; files that are broken keep nothing from
    /// starting.
    pub(super) fn advisories(&mut self) -> Result<Option<Arc<Current>>, StartError> {
        let Some(path) = self.config.inventories.advisories.clone() else { return Ok(None) };
        let current = Arc::new(Current::new(path, self.registry).map_err(starting("advisories"))?);
        self.tasks.spawn("advisories", current.clone().run(self.tasks.stop()));
        let reloaded = current.clone();
        self.reloaders.add_blocking("advisories", move || reloaded.refresh(true));
        let shown = current.clone();
        self.status.push(("advisories", Arc::new(move || serde_json::json!(shown.shown()))));
        Ok(Some(current))
    }
}
