// SPDX-License-Identifier: Apache-2.0
//! When nodes were last heard of, and whether one identity is used by two machines.
//!
//! Whoever hears of a node says so without waiting; what comes faster than it can be noted is dropped.
//! What was heard in two seconds is noted in one transaction, and a node's time at most twice a minute.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use diesel::{QueryResult, QueryableByName, sql_types::Text};
use prometheus::IntCounter;
use protocol::{node_id::NodeId, run_log::instance::Instance};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    change::{NewConflict, exclusively, note_conflict},
    clones::{Finding, Sightings},
    record::ConflictKind,
    row::for_nodes,
};
use crate::db::{
    Connection, Database,
    query::{Value, placeholders},
};

/// A node was heard of.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Who.
    pub node: NodeId,
    /// When.
    pub at: DateTime<Utc>,
    /// Start of the run of which it told; that of a request is `at`.
    pub start: DateTime<Utc>,
    /// The machine, as far as the run said.
    pub instance: Option<Instance>,
}

impl Contact {
    /// A node that asks for something now, and says nothing about its machine.
    pub fn request(node: NodeId) -> Self {
        let now = Utc::now();
        Self { node, at: now, start: now, instance: None }
    }
}

/// Takes contacts; cheap to clone.
#[derive(Clone)]
pub struct Contacts {
    queue: mpsc::Sender<Contact>,
    dropped: IntCounter,
}

/// Notes contacts in the database.
pub struct Recorder {
    queue: mpsc::Receiver<Contact>,
    database: Database,
}

/// Contacts that may wait.
const WAITING: usize = 16_384;
/// How long to collect.
const COLLECT: Duration = Duration::from_secs(2);
/// A node's time is written again after this many seconds.
const WRITE_AFTER: i64 = 30;
/// Nodes in one statement.
const AT_A_TIME: usize = 500;

impl Contacts {
    /// Makes the handle and what works for it.
    pub fn new(
        database: Database,
        registry: &prometheus::Registry,
    ) -> Result<(Self, Recorder), prometheus::Error> {
        let dropped = IntCounter::new(
            "relayd_contacts_dropped_total",
            "Contacts of nodes that were not noted because too many came at once",
        )?;
        registry.register(Box::new(dropped.clone()))?;
        let (sender, queue) = mpsc::channel(WAITING);
        Ok((Self { queue: sender, dropped }, Recorder { queue, database }))
    }

    /// Notes a contact, or drops it: never waits.
    pub fn note(&self, contact: Contact) {
        if self.queue.try_send(contact).is_err() {
            self.dropped.inc();
        }
    }
}

impl Recorder {
    /// Notes what comes until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        let mut notebook = Notebook { database: self.database, connection: None, written: HashMap::new() };
        let mut contacts = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = self.queue.recv_many(&mut contacts, WAITING) => if received == 0 {
                    // Nobody is left who could hear of a node.
                    stop.cancelled().await;
                    return Ok(());
                },
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(COLLECT) => {}
            }
            while let Ok(more) = self.queue.try_recv() {
                contacts.push(more);
            }
            let batch = std::mem::take(&mut contacts);
            let work = move || {
                notebook.write(batch);
                notebook
            };
            notebook = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
        }
    }
}

struct Notebook {
    database: Database,
    connection: Option<Connection>,
    /// Last time that was written, by node.
    written: HashMap<NodeId, i64>,
}

impl Notebook {
    /// Contacts are a courtesy: what a database that is down does not take is gone.
    fn write(&mut self, batch: Vec<Contact>) {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.database.connect().map_err(|e| e.to_string()),
        };
        let result = connection.and_then(|mut connection| {
            self.write_to(&mut connection, batch).map_err(|e| e.to_string())?;
            self.connection = Some(connection);
            Ok(())
        });
        if let Err(error) = result {
            tracing::warn!("contacts of nodes were not noted: {error}");
        }
    }

    fn write_to(&mut self, c: &mut Connection, batch: Vec<Contact>) -> QueryResult<()> {
        let mut newest: BTreeMap<&NodeId, i64> = BTreeMap::new();
        for contact in &batch {
            let time = newest.entry(&contact.node).or_default();
            *time = (*time).max(contact.at.timestamp());
        }
        newest.retain(|node, at| self.written.get(*node).is_none_or(|last| *at - last >= WRITE_AFTER));
        let due: Vec<(&NodeId, i64)> = newest.into_iter().collect();
        let mut told: BTreeMap<&NodeId, Vec<(i64, &Instance)>> = BTreeMap::new();
        for contact in &batch {
            if let Some(instance) = &contact.instance {
                told.entry(&contact.node).or_default().push((contact.start.timestamp(), instance));
            }
        }
        exclusively::<_, diesel::result::Error>(c, |c| {
            due.chunks(AT_A_TIME).try_for_each(|part| write_times(c, part))?;
            look_at(c, told)
        })?;
        // Only what is younger holds anything back; nodes come and go.
        let newest = due.iter().map(|(_, at)| *at).max().unwrap_or(i64::MIN);
        self.written.retain(|_, at| newest.saturating_sub(*at) < WRITE_AFTER);
        self.written.extend(due.into_iter().map(|(node, at)| (node.clone(), at)));
        Ok(())
    }
}

fn write_times(c: &mut Connection, part: &[(&NodeId, i64)]) -> QueryResult<()> {
    let sql = format!(
        "UPDATE node SET last_contact = v.column2 FROM (VALUES {}) AS v WHERE nodeid = v.column1",
        placeholders(part.len(), 2)
    );
    let values: Vec<_> =
        part.iter().flat_map(|(node, at)| [Value::Text(node.as_str()), Value::Int(*at)]).collect();
    c.run(&sql, &values).map(drop)
}

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    state: String,
}

/// Looks whether the machines are those that were seen before. Of nodes of the registry only.
fn look_at(c: &mut Connection, told: BTreeMap<&NodeId, Vec<(i64, &Instance)>>) -> QueryResult<()> {
    let ids: Vec<&str> = told.keys().map(|node| node.as_str()).collect();
    let rows = for_nodes(c, &ids, |c, places, values| {
        let sql = format!(
            "SELECT n.nodeid, coalesce(i.state, '') AS state FROM node n \
             LEFT JOIN node_instance i ON i.nodeid = n.nodeid WHERE n.nodeid IN ({places})"
        );
        c.rows::<StateRow>(&sql, values)
    })?;
    let now = super::admin::now();
    let mut states = Vec::with_capacity(rows.len());
    for row in rows {
        let Some((node, runs)) = row
            .nodeid
            .parse()
            .ok()
            .and_then(|id: NodeId| told.get_key_value(&id).map(|(node, runs)| (*node, runs)))
        else {
            continue;
        };
        // What cannot be read starts anew.
        let mut sightings: Sightings = serde_json::from_str(&row.state).unwrap_or_default();
        let mut runs = runs.clone();
        runs.sort_by_key(|(start, _)| *start);
        for (start, instance) in runs {
            let (kind, detail) = match sightings.see(start, instance, now) {
                Finding::Same | Finding::Late => continue,
                Finding::Rollback(detail) => (ConflictKind::Rollback, detail),
                Finding::Clone(detail) => (ConflictKind::Clone, detail),
            };
            tracing::warn!(node_id = %node, "{}: {detail}", kind.as_str());
            let address = instance.address.map(|address| address.to_string());
            let new = NewConflict {
                node_id: node,
                kind,
                key_hash: None,
                address: address.as_deref(),
                detail: &detail,
            };
            note_conflict(c, now, &new)?;
        }
        let state = serde_json::to_string(&sightings).unwrap_or_default();
        states.push((row.nodeid, state));
    }
    states.chunks(AT_A_TIME).try_for_each(|part| {
        let sql = format!(
            "INSERT INTO node_instance (nodeid, state) VALUES {} \
             ON CONFLICT (nodeid) DO UPDATE SET state = excluded.state",
            placeholders(part.len(), 2)
        );
        let values: Vec<_> =
            part.iter().flat_map(|(node, state)| [Value::Text(node), Value::Text(state)]).collect();
        c.run(&sql, &values).map(drop)
    })
}
