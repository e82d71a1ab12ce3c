// SPDX-License-Identifier: Apache-2.0
//! What a relay keeps of the files of its upstream.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{cache::Cache, nodes::Nodes};

impl Services<'_> {
    /// Opens the cache, where there is one.
    pub(super) fn open_cache(&mut self, nodes: &Nodes) -> Result<(), StartError> {
        let Some(settings) = &self.config.cache else { return Ok(()) };
        let upstream = self.upstream_client()?;
        let cache = Cache::open(settings, upstream, self.registry, self.tasks.stop());
        let cache = cache.map_err(starting("the cache"))?;
        let shown = cache.clone();
        self.status.push(("cache", Arc::new(move || shown.to_json())));
        let swept = cache.clone().follow_nodes(nodes.clone(), self.tasks.stop());
        self.tasks.spawn("cache", swept);
        self.cache = Some(cache);
        Ok(())
    }
}
