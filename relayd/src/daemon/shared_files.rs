// SPDX-License-Identifier: Apache-2.0
//! Files that nodes send each other.

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{
    http::ServiceKind,
    nodes::Nodes,
    shared_files::{Settings, SharedFiles},
    spool::clock::SystemClock,
};

/// Where there is no gateway whose settings say it: bytes per second, and percent of the disk.
const WITHOUT_GATEWAY: (u64, u8) = (1024, 90);

impl Services<'_> {
    /// Adds what takes, keeps and serves shared files.
    pub(super) fn share_files(&mut self, nodes: Nodes) -> Result<(), StartError> {
        let upstream = self.config.upstream.is_some().then(|| self.upstream_client()).transpose()?;
        let (slowest_body, high_water_percent) = match &self.config.gateway {
            Some(gateway) => (gateway.slowest_body, gateway.high_water_percent),
            None => WITHOUT_GATEWAY,
        };
        let settings = Settings {
            own_id: self.config.general.node_id.clone(),
            path: self.config.shared_files.path.clone(),
            max_body_size: self.config.shared_files.max_body_size,
            clean_every: self.config.shared_files.clean_every,
            slowest_body,
            high_water_percent,
        };
        let (files, clock) = (self.files.clone(), Arc::new(SystemClock));
        let service =
            SharedFiles::new(settings, nodes, (upstream, self.cache.clone()), files, clock, self.registry);
        let service = service.map_err(starting("shared files"))?;
        self.tasks.spawn("shared files", service.sweep(self.tasks.stop()));
        self.called.add(ServiceKind::SharedFiles, Arc::new(service));
        Ok(())
    }
}
