// SPDX-License-Identifier: Apache-2.0
//! Where a server learns which nodes there are (`nodes.source`).

use std::sync::Arc;

use super::{StartError, services::Services, starting};
use crate::{
    config::{NodesSource, RunLogOutput},
    db::Database,
    nodes::{self, Nodes},
    registry::{self, Contacts, Followed},
};

impl Services<'_> {
    /// Starts what says which nodes there are.
    pub(super) async fn nodes(&mut self) -> Result<Nodes, StartError> {
        match self.config.nodes.source {
            NodesSource::Upstream => self.follow_upstream(),
            NodesSource::Files => {
                let nodes = self.load_nodes().await?;
                if self.config.run_logs.output == RunLogOutput::Database {
                    let followed =
                        Followed::new(self.database().await?, nodes.clone(), self.config.nodes.key_overlap);
                    self.tasks.spawn("node registry", followed.run(self.tasks.stop()));
                    self.note_contacts().await?;
                }
                Ok(nodes)
            }
            NodesSource::Database => {
                let nodes = self.start_registry().await?;
                self.note_contacts().await?;
                Ok(nodes)
            }
        }
    }

    async fn load_nodes(&mut self) -> Result<Nodes, StartError> {
        let (loader, nodes) = nodes::Loader::start(&self.config.general, self.compatible.clone())
            .await
            .map_err(starting("the node table"))?;
        let loader = Arc::new(loader);
        self.reloaders.add("node table", move || {
            let loader = Arc::clone(&loader);
            async move { loader.reload().await }
        });
        Ok(nodes)
    }

    async fn start_registry(&mut self) -> Result<Nodes, StartError> {
        let database = self.database().await?;
        let settings = registry::Settings::of(self.config);
        let (metrics, compatible) = (self.registry.clone(), self.compatible.clone());
        let start = move || registry::start(settings, database, &metrics, compatible);
        let running = tokio::task::spawn_blocking(start)
            .await
            .map_err(starting("the registry of nodes"))?
            .map_err(starting("the registry of nodes"))?;
        self.status.push(("nodes", std::sync::Arc::new(running.status())));
        self.node_registry = Some(running.registry.clone());
        let reloaded = running.registry.clone();
        self.reloaders.add("node registry", move || {
            let registry = reloaded.clone();
            async move { registry.reload().await }
        });
        let nodes = running.nodes.clone();
        self.tasks.spawn("node registry", running.run(self.tasks.stop()));
        Ok(nodes)
    }

    async fn note_contacts(&mut self) -> Result<(), StartError> {
        let (contacts, recorder) = Contacts::new(self.database().await?, self.registry)
            .map_err(starting("the registry of nodes"))?;
        self.contacts = Some(contacts);
        self.tasks.spawn("contacts of nodes", recorder.run(self.tasks.stop()));
        Ok(())
    }

    /// The database, opened and checked when it is first needed.
    pub(super) async fn database(&mut self) -> Result<Database, StartError> {
        if let Some(database) = &self.opened {
            return Ok(database.clone());
        }
        let settings = self.config.database.clone();
        let database = tokio::task::spawn_blocking(move || Database::open(&settings))
            .await
            .map_err(starting("the database"))?
            .map_err(starting("the database"))?;
        let checked = database.clone();
        self.database = Some(std::sync::Arc::new(move || checked.check()));
        Ok(self.opened.insert(database).clone())
    }
}
