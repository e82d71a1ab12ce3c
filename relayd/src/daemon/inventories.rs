// SPDX-License-Identifier: Apache-2.0
//! Inventories on a root that takes them itself.

use std::sync::Arc;

use protocol::urls::UploadKind;

use super::{StartError, services::Services, starting};
use crate::{
    config::{InventoryOutput, NodesSource, SpoolSettings},
    gateway::Door,
    inventories::{collect, store::Store},
    nodes::Nodes,
    sink::enrol::{Authority, Enrol, Keeping, Memory},
};

impl Services<'_> {
    /// The spools of new inventories and of updates; their doors, where there is a gateway.
    pub(super) async fn take_inventories(
        &mut self,
        nodes: &Nodes,
        settings: &SpoolSettings,
    ) -> Result<[Option<Door>; 2], StartError> {
        let store = match self.config.inventories.output {
            InventoryOutput::Database => {
                let database = self.database().await?;
                let stop = self.tasks.stop();
                self.tasks.spawn("parts of inventories", collect::run(database.clone(), stop));
                Some(Store::start(database).map_err(starting("the store of inventories"))?)
            }
            _ => None,
        };
        let mut doors = [None, None];
        let memory = Arc::new(Memory::default());
        for (kind, door) in
            [UploadKind::NewInventory, UploadKind::InventoryUpdate].into_iter().zip(&mut doors)
        {
            let keeping = match &store {
                Some(store) => Keeping::Database(store.clone()),
                None => {
                    Keeping::received(&settings.directory).map_err(starting("enrolment by inventories"))?
                }
            };
            let with_registry = self.config.nodes.source == NodesSource::Database;
            let registry = with_registry.then(|| self.node_registry.clone()).flatten();
            let authority = Authority { nodes: nodes.clone(), registry };
            let enrol = Enrol::new(authority, keeping, settings.max_file_size, memory.clone());
            let (spool, opened) = self.spool(kind, settings)?;
            *door = opened;
            self.tasks.spawn(kind.segment(), spool.run(Arc::new(enrol), self.tasks.stop()));
        }
        Ok(doors)
    }
}
