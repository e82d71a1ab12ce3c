// SPDX-License-Identifier: Apache-2.0
//! The daemon that was there before: one look through a spool at a time (protocol 2.7, 2.9, 4.3).
//!
//! It knows the existing schema and formats, and nothing of relayd. OpenSSL's own program verifies.

use std::{fs, path::Path, process::Command};

use diesel::{
    Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Text},
};
use tests::Result;

use crate::{
    log::{self, Row, Run},
    machine::{Machine, PASSWORD},
    place::Place,
};

/// The columns of a row, in their order.
macro_rules! bind {
    ($query:expr, $row:expr) => {{
        let row: &Row = $row;
        $query
            .bind::<Text, _>(&row.executed)
            .bind::<Text, _>(&row.node)
            .bind::<Text, _>(&row.directive)
            .bind::<Text, _>(&row.rule)
            .bind::<Text, _>(&row.report)
            .bind::<Text, _>(&row.component)
            .bind::<Text, _>(&row.key_value)
            .bind::<Text, _>(&row.start)
            .bind::<Text, _>(&row.event_type)
            .bind::<Text, _>(&row.policy)
            .bind::<Text, _>(&row.message)
    }};
}

/// What became of the files of one look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub stored: usize,
    /// Those that were stored already.
    pub known: usize,
    pub refused: usize,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

const COLUMNS: &str = "executiondate, nodeid, directiveid, ruleid, reportid, component, keyvalue, \
     executiontimestamp, eventtype, policy, msg";

/// Stores what waits at a root. With `dies`, it is killed each time between commit and removal.
pub fn store(place: &Place, database: &mut PgConnection, dies: bool) -> Result<Look> {
    let mut look = Look::default();
    let list: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("var/rudder/lib/relay/nodeslist.json"))?)?;
    for name in place.files("var/rudder/reports/incoming")? {
        if !name.ends_with(".log.gz") {
            continue;
        }
        let file = place.path("var/rudder/reports/incoming").join(&name);
        let node = name.split('@').nth(1).and_then(|rest| rest.split('.').next()).unwrap_or_default();
        let text = if list.get(node).is_some() { verified(place, &file) } else { None };
        let Some(run) = text.map(|text| log::parse(&text)).filter(|run| run.node == node) else {
            fs::rename(&file, place.path("var/rudder/reports/failed").join(&name))?;
            look.refused += 1;
            continue;
        };
        let stored = database.transaction(|database| insert(database, &run))?;
        *(if stored { &mut look.stored } else { &mut look.known }) += 1;
        if !dies {
            fs::remove_file(file)?;
        }
    }
    Ok(look)
}

/// The text of a run log that one of the known certificates signed.
fn verified(place: &Place, file: &Path) -> Option<String> {
    let bundle = place.path("var/rudder/lib/ssl/shared/allnodescerts.pem");
    let script = "gzip -dc \"$1\" | openssl smime -verify -text -noverify -nointern -certfile \"$2\"";
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(file).arg(bundle).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn insert(c: &mut PgConnection, run: &Run) -> diesel::QueryResult<bool> {
    let (Some(first), true) = (run.rows.first(), !run.rows.is_empty()) else { return Ok(false) };
    let known = sql_query(format!(
        "SELECT id FROM ruddersysevents WHERE ({COLUMNS}) = ($1::timestamp AT TIME ZONE 'UTC', $2, $3, $4, $5, $6, $7, \
         $8::timestamp AT TIME ZONE 'UTC', $9, $10, $11) LIMIT 1"
    ));
    if !bind!(known, first).load::<Id>(c)?.is_empty() {
        return Ok(false);
    }
    let mut ids = Vec::with_capacity(run.rows.len());
    for row in &run.rows {
        let statement = sql_query(format!(
            "INSERT INTO ruddersysevents ({COLUMNS}) VALUES ($1::timestamp AT TIME ZONE 'UTC', $2, $3, $4, $5, $6, $7, \
             $8::timestamp AT TIME ZONE 'UTC', $9, $10, $11) RETURNING id"
        ));
        ids.push(bind!(statement, row).get_result::<Id>(c)?.id);
    }
    sql_query(
        "INSERT INTO reportsexecution (nodeid, date, nodeconfigid, insertionid) \
         VALUES ($1, $2::timestamp AT TIME ZONE 'UTC', $3, $4)",
    )
    .bind::<Text, _>(&run.node)
    .bind::<Text, _>(&run.start)
    .bind::<Text, _>(&run.config_id)
    .bind::<BigInt, _>(ids.first().copied().unwrap_or_default())
    .execute(c)?;
    Ok(true)
}

/// Forwards what waits at a relay to its upstream: no client certificate, a slash too many (protocol 2.9, 6.4).
/// Returns how many files it brought up.
pub fn forward(place: &Place, upstream: &Machine, port: u16) -> Result<usize> {
    let mut forwarded = 0;
    for (directory, path, password) in [
        ("var/rudder/reports/incoming", "reports", PASSWORD),
        ("var/rudder/inventories/incoming", "inventories", "rudder"),
        ("var/rudder/inventories/accepted-nodes-updates", "inventory-updates", PASSWORD),
    ] {
        for name in place.files(directory)? {
            if !["gz", "sign"].iter().any(|extension| name.ends_with(extension)) {
                continue;
            }
            let file = place.path(directory).join(&name);
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--globoff", "--path-as-is", "--insecure"])
                .args(["--pinnedpubkey", &upstream.key_hash()?, "--user", &format!("rudder:{password}")])
                .arg("--upload-file")
                .arg(&file)
                .arg(format!("https://127.0.0.1:{port}//{path}/{name}"))
                .output()?;
            if !output.status.success() {
                return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            fs::remove_file(file)?;
            forwarded += 1;
        }
    }
    Ok(forwarded)
}
