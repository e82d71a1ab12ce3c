// SPDX-License-Identifier: Apache-2.0
//! Which flows run, by configuration: what is a root, a relay or both is decided here.
//!
//! | | run logs | inventories |
//! |---|---|---|
//! | `database` | spool → store | |
//! | `upstream` | spool → forward | two spools → forward |
//! | `disabled` | no door | doors only: the server application reads the directories |

use std::{collections::BTreeMap, fs::DirBuilder, os::unix::fs::DirBuilderExt, sync::Arc};

use prometheus::Registry;
use protocol::urls::UploadKind;
use serde_json::{Value, json};

use crate::{
    api::{Check, Status},
    config::{Config, RunLogOutput, SpoolSettings},
    daemon::{StartError, starting},
    db::Database,
    gateway::{Door, Doors, Gateway},
    metrics::CompatibleMetrics,
    nodes::{Loader, Nodes},
    reload::Reloaders,
    sink::{
        forward::Forward,
        store::{Store, StoreSettings},
    },
    spool::{self, Spool, metrics::GateState},
    tasks::Tasks,
};

/// What the API shows of the flows.
pub struct Flows {
    /// The database, when run logs are stored there.
    pub database: Option<Check>,
    /// Members of `system/status`.
    pub status: Vec<(&'static str, Status)>,
}

/// Where a spool's files go.
enum SinkOf {
    Store(Arc<Store>),
    Forward(Arc<Forward>),
}

/// Starts the flows that the configuration asks for, within the runtime.
pub fn start(
    config: &Config,
    registry: &Registry,
    tasks: &mut Tasks,
    reloaders: &mut Reloaders,
) -> Result<Flows, StartError> {
    let compatible = CompatibleMetrics::new(registry).map_err(starting("metrics"))?;
    let open = |kind: UploadKind, settings: &SpoolSettings| {
        Spool::open(kind, settings, registry).map_err(starting("a spool"))
    };
    let run_logs = match config.run_logs.output {
        RunLogOutput::Disabled => None,
        _ => Some(open(UploadKind::RunLog, &config.run_logs.spool)?),
    };
    let database = match config.run_logs.output {
        RunLogOutput::Database => {
            Some(Database::open(&config.database).map_err(starting("the database output"))?)
        }
        _ => None,
    };
    let (loader, nodes) =
        Loader::start(&config.general, compatible.clone()).map_err(starting("the node table"))?;
    reloaders.add_blocking("the node table", move || loader.reload());

    let mut doors = Doors {
        run_logs: run_logs.as_ref().map(|spool| door(spool, &config.run_logs.spool)),
        ..Doors::default()
    };
    let mut spools = Vec::new();
    let mut flow = |spool: Spool, sink: SinkOf, name: &'static str| {
        spools.push(spool.status());
        let stop = tasks.stop();
        match sink {
            SinkOf::Store(store) => tasks.spawn(name, spool.run(store, stop)),
            SinkOf::Forward(forward) => {
                let again = forward.clone();
                reloaders.add_blocking("the upstream's certificates", move || again.reload());
                tasks.spawn(name, spool.run(forward, stop));
            }
        }
    };
    if let Some(spool) = run_logs {
        let sink = match &database {
            Some(database) => SinkOf::Store(store(config, &nodes, database, registry, &compatible)?),
            None => SinkOf::Forward(forward(config, UploadKind::RunLog, registry, &compatible)?),
        };
        flow(spool, sink, "run log spool");
    }
    for (kind, door_of, name) in [
        (UploadKind::NewInventory, &mut doors.new_inventories, "inventory spool"),
        (UploadKind::InventoryUpdate, &mut doors.inventory_updates, "inventory update spool"),
    ] {
        let settings = &config.inventories.spool;
        if config.inventories.forward {
            let spool = open(kind, settings)?;
            *door_of = Some(door(&spool, settings));
            flow(spool, SinkOf::Forward(forward(config, kind, registry, &compatible)?), name);
        } else if config.gateway.is_some() {
            *door_of = Some(bare_door(kind, settings)?);
        }
    }
    if let Some(settings) = &config.gateway {
        let own_id = &config.general.node_id;
        let gateway =
            Gateway::bind(settings, own_id, nodes, doors, registry).map_err(starting("the gateway"))?;
        let identity = gateway.reload_handle();
        reloaders.add_blocking("the gateway's certificate", move || identity.reload());
        tasks.spawn("gateway", gateway.run(tasks.stop()));
    }
    Ok(Flows {
        database: database.map(|database| Arc::new(move || database.check()) as Check),
        status: vec![("spools", Arc::new(move || spool_status(&spools)))],
    })
}

fn store(
    config: &Config,
    nodes: &Nodes,
    database: &Database,
    registry: &Registry,
    compatible: &CompatibleMetrics,
) -> Result<Arc<Store>, StartError> {
    let settings = StoreSettings {
        skip_event_types: config.run_logs.skip_event_types.clone(),
        max_file_size: config.run_logs.spool.max_file_size,
        max_inflated: config.run_logs.max_inflated,
    };
    Store::start(settings, nodes.clone(), database.clone(), registry, compatible.clone())
        .map(Arc::new)
        .map_err(starting("the store"))
}

fn forward(
    config: &Config,
    kind: UploadKind,
    registry: &Registry,
    compatible: &CompatibleMetrics,
) -> Result<Arc<Forward>, StartError> {
    // The configuration asks for a host wherever something is sent upstream.
    let upstream = config.upstream.as_ref().ok_or("output.upstream.host is not set");
    let upstream = upstream.map_err(starting("forwarding"))?;
    Forward::new(upstream, kind, compatible.clone(), registry).map(Arc::new).map_err(starting("forwarding"))
}

fn door(spool: &Spool, settings: &SpoolSettings) -> Door {
    Door { incoming: spool.incoming().to_owned(), notices: spool.notices(), max_size: settings.max_file_size }
}

/// The door of a directory that another program empties.
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

fn spool_status(spools: &[spool::Status]) -> Value {
    let spools: BTreeMap<_, _> =
        spools.iter().map(|spool| (spool.kind().segment(), one_spool(spool))).collect();
    json!(spools)
}

fn one_spool(spool: &spool::Status) -> Value {
    let paused = match spool.gate() {
        GateState::Open => None,
        GateState::Closed { why, since } => Some(json!({"reason": why, "since": since.to_rfc3339()})),
    };
    json!({
        "waiting": spool.depth(),
        "oldest-seconds": spool.oldest_age().as_secs(),
        "in-flight": spool.in_flight(),
        "failed": spool.failed(),
        "paused": paused,
    })
}
