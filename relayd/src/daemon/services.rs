// SPDX-License-Identifier: Apache-2.0
//! Which services a server has, by its configuration, and what each is handed.
//!
//! ```text
//! run logs      output = database   spool ─▶ store ─▶ database
//!               output = upstream   spool ─▶ forward ─▶ upstream
//! inventories   output = upstream   two spools ─▶ forward ─▶ upstream
//!               output = registry   two spools ─▶ enrol ─▶ registry
//!               output = database   two spools ─▶ enrol ─▶ registry, database
//!               output = disabled   two directories, for the server application
//! gateway       listens             a door into each spool that is there
//! ```

use std::{convert::Infallible, fs::DirBuilder, os::unix::fs::DirBuilderExt, sync::Arc};

use prometheus::Registry;
use protocol::urls::UploadKind;
use tokio_util::sync::CancellationToken;

use super::{StartError, starting, status::spool_state};
use crate::{
    api::{Check, Status},
    cache::Cache,
    compliance::upkeep::Upkeep,
    config::{Config, InventoryOutput, NodesSource, RunLogOutput, SpoolSettings},
    db::Database,
    expiry::Expiry,
    files::Files,
    gateway::{self, Behind, Door, Doors, Enrolment, Gateway, authorities},
    http::{ServiceKind, Services as Called},
    metrics::CompatibleMetrics,
    nodes::Nodes,
    open_api::OpenApi,
    registry::{Contacts, Registry as NodeRegistry},
    reload::Reloaders,
    resend::ResendSince,
    service_manager::{PassedSockets, StatusLine},
    sink::{
        forward::Forward,
        store::{Store, StoreSettings},
    },
    spool::{self, Spool, clock::SystemClock},
    tasks::Tasks,
    upstream::UpstreamClient,
};

/// Makes the services and hands them their parts.
pub(super) struct Services<'a> {
    pub config: &'a Config,
    pub registry: &'a Registry,
    pub compatible: CompatibleMetrics,
    pub tasks: &'a mut Tasks,
    pub reloaders: &'a mut Reloaders,
    /// What the service manager has bound already.
    pub sockets: PassedSockets,
    /// For the service manager.
    pub status_line: StatusLine,
    /// For `system/status`, in this order.
    pub status: Vec<(&'static str, Status)>,
    /// The spools that are there.
    pub spools: Vec<spool::Status>,
    /// Watches the certificates of this server.
    pub expiry: Option<Arc<Expiry>>,
    /// For `system/status`, when there is a database.
    pub database: Option<Check>,
    /// Made when it is first needed.
    pub upstream_client: Option<Arc<UpstreamClient>>,
    /// Opened when it is first needed.
    pub opened: Option<Database>,
    /// Where nodes enrol, on a root that has the registry.
    pub node_registry: Option<NodeRegistry>,
    /// Who wants to know that a node was heard of.
    pub contacts: Option<Contacts>,
    /// Files of the upstream, on a relay.
    pub cache: Option<Cache>,
    /// Opens files for all who serve some: digests are remembered in one place.
    pub files: Arc<Files>,
    /// Since when run logs have to be sent again.
    pub resend: ResendSince,
    /// What answers requests on the gateway and the local API.
    pub called: Called,
}

impl Services<'_> {
    /// Starts all services that the configuration asks for.
    pub async fn start(&mut self) -> Result<(), StartError> {
        let nodes = self.nodes().await?;
        self.retention().await?;
        let run_logs = &self.config.run_logs;
        let mut doors = Doors::default();
        match run_logs.output {
            RunLogOutput::Disabled => {}
            RunLogOutput::Database => {
                let (spool, door) = self.spool(UploadKind::RunLog, &run_logs.spool)?;
                doors.run_logs = door;
                let store = self.store(nodes.clone()).await?;
                self.tasks.spawn("run logs", run_store(spool, store, self.tasks.stop()));
            }
            RunLogOutput::Upstream => {
                doors.run_logs = self.forward(UploadKind::RunLog, &run_logs.spool)?;
            }
        }
        let settings = &self.config.inventories.spool;
        match self.config.inventories.output {
            InventoryOutput::Upstream => {
                doors.new_inventories = self.forward(UploadKind::NewInventory, settings)?;
                doors.inventory_updates = self.forward(UploadKind::InventoryUpdate, settings)?;
            }
            InventoryOutput::Registry | InventoryOutput::Database => {
                [doors.new_inventories, doors.inventory_updates] =
                    self.take_inventories(&nodes, settings).await?;
            }
            InventoryOutput::Disabled if self.config.gateway.is_some() => {
                doors.new_inventories = Some(bare_door(UploadKind::NewInventory, settings)?);
                doors.inventory_updates = Some(bare_door(UploadKind::InventoryUpdate, settings)?);
            }
            InventoryOutput::Disabled => {}
        }
        self.answer_questions().await?;
        self.called.add(ServiceKind::OpenApi, Arc::new(OpenApi));
        self.watch_expiry(nodes.clone())?;
        self.open_cache(&nodes)?;
        self.serve_files(&nodes);
        self.share_files(nodes.clone())?;
        let triggers = self.triggers(nodes.clone())?;
        self.remote_runs(nodes.clone(), triggers)?;
        self.gateway(nodes, doors)
    }

    fn watch_expiry(&mut self, nodes: Nodes) -> Result<(), StartError> {
        let expiry = Expiry::new(self.config, nodes, Arc::new(SystemClock), self.registry);
        let expiry = Arc::new(expiry.map_err(starting("watching certificates"))?);
        let reloaded = expiry.clone();
        self.reloaders.add_blocking("dates of certificates", move || {
            reloaded.load();
            Ok::<_, Infallible>(())
        });
        self.tasks.spawn("watching certificates", expiry.clone().run(self.tasks.stop()));
        self.expiry = Some(expiry);
        Ok(())
    }

    pub(super) fn spool(
        &mut self,
        kind: UploadKind,
        settings: &SpoolSettings,
    ) -> Result<(Spool, Option<Door>), StartError> {
        let spool = Spool::open(kind, settings, self.registry).map_err(starting("a spool"))?;
        let status = spool.status();
        self.status_line.spool(status.clone());
        self.spools.push(status.clone());
        self.status.push((kind.segment(), Arc::new(move || spool_state(&status))));
        let gateway = self.config.gateway.as_ref();
        let door = gateway.map(|gateway| Door {
            incoming: spool.incoming().to_owned(),
            notices: spool.notices(),
            max_size: match kind {
                UploadKind::RunLog => gateway.max_run_log,
                UploadKind::NewInventory | UploadKind::InventoryUpdate => gateway.max_inventory,
            },
        });
        Ok((spool, door))
    }

    async fn store(&mut self, nodes: Nodes) -> Result<Store, StartError> {
        let database = self.database().await?;
        let settings = StoreSettings {
            skip_event_types: self.config.run_logs.skip_event_types.clone(),
            max_file_size: self.config.run_logs.spool.max_file_size,
            max_inflated: self.config.run_logs.max_inflated,
            run_interval: self.config.compliance.run_interval,
        };
        let upkeep = Upkeep::new(database.clone(), self.config.compliance.run_interval);
        self.tasks.spawn("compliance", upkeep.run(self.tasks.stop()));
        Store::start(settings, nodes, database, self.registry, self.compatible.clone())
            .map(|store| store.telling(self.contacts.clone()))
            .map_err(starting("the store"))
    }

    /// A spool whose files go upstream.
    fn forward(&mut self, kind: UploadKind, settings: &SpoolSettings) -> Result<Option<Door>, StartError> {
        let (spool, door) = self.spool(kind, settings)?;
        let upstream = self.config.upstream.as_ref().ok_or("output.upstream.host is not set");
        let upstream = upstream.map_err(starting("forwarding"))?;
        let forward = Forward::new(upstream, kind, self.compatible.clone(), self.registry)
            .map_err(starting("forwarding"))?;
        let forward = Arc::new(forward.telling(self.resend.clone()));
        let reloaded = forward.clone();
        self.reload_upstream_certificates(upstream, move || reloaded.reload());
        self.tasks.spawn(kind.segment(), spool.run(forward, self.tasks.stop()));
        Ok(door)
    }

    /// Who decides about nodes and keys.
    fn enrolment(&mut self) -> Result<Enrolment, StartError> {
        Ok(match self.config.nodes.source {
            NodesSource::Files => Enrolment::Off,
            NodesSource::Database => self.node_registry.clone().map_or(Enrolment::Off, Enrolment::Here),
            NodesSource::Upstream => Enrolment::Upstream(self.upstream_client()?),
        })
    }

    fn gateway(&mut self, nodes: Nodes, doors: Doors) -> Result<(), StartError> {
        let Some(settings) = &self.config.gateway else { return Ok(()) };
        let behind = Behind {
            doors,
            enrolment: self.enrolment()?,
            newcomers_per_minute: self
                .config
                .enrolment
                .as_ref()
                .map(|enrolment| enrolment.requests_per_minute),
            contacts: self.contacts.clone(),
            services: self.called.clone(),
            upstream: self.config.upstream.as_ref().map(super::upstream::known_by_key),
            resend: self.resend.clone(),
        };
        let check = {
            let (clients, ca) = (settings.clients.clone(), self.config.ca.clone());
            move || authorities::check(&clients, &ca)
        };
        check().map_err(starting("the gateway"))?;
        let own_id = &self.config.general.node_id;
        let gateway = gateway::listen(&settings.listen, &mut self.sockets)
            .and_then(|listeners| Gateway::open(listeners, settings, own_id, nodes, behind, self.registry))
            .map_err(starting("the gateway"))?;
        for address in gateway.local_addrs() {
            tracing::info!("gateway listens on {address}");
        }
        for (number, runtime) in gateway.runtimes().enumerate() {
            self.tasks.pulses().watch_runtime(format!("gateway-{number}"), runtime.clone());
        }
        let reload = gateway.reload_handle();
        self.reloaders.add_blocking("authorities of clients", check);
        self.reloaders.add_blocking("gateway certificate", move || reload.reload());
        self.tasks.spawn("gateway", gateway.run(self.tasks.stop()));
        Ok(())
    }
}

/// The door of a directory that another program empties: the server application reads inventories.
fn bare_door(kind: UploadKind, settings: &SpoolSettings) -> Result<Door, StartError> {
    let incoming = spool::directories(kind, &settings.directory).incoming;
    DirBuilder::new()
        .recursive(true)
        .mode(0o770)
        .create(&incoming)
        .map_err(|error| format!("cannot make {}: {error}; check its owner", incoming.display()))
        .map_err(starting("the gateway"))?;
    // Nobody listens; the gateway does not mind.
    let (notices, _) = tokio::sync::mpsc::channel(1);
    Ok(Door { incoming, notices, max_size: settings.max_file_size })
}

/// After the spool has drained, what the store still writes is waited for.
async fn run_store(spool: Spool, store: Store, stop: CancellationToken) -> Result<(), String> {
    let store = Arc::new(store);
    tokio::select! {
        ended = spool.run(store.clone(), stop) => ended.map_err(|error| error.to_string())?,
        () = store.writer_panicked() => return Err("a thread that writes to the database panicked".into()),
    }
    if let Some(store) = Arc::into_inner(store) {
        // A panic there was logged and there is nothing left to stop.
        let _ = tokio::task::spawn_blocking(move || store.finish()).await;
    }
    Ok(())
}
