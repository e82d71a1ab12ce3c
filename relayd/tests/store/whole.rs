// SPDX-License-Identifier: Apache-2.0
//! Tables, texts and lines are whole when nobody says how much of them is wanted: whoever saves them into a file
//! follows no links.

use std::time::Duration;

use hyper::{StatusCode, header};
use relayd::{
    config::DatabaseUrl,
    db::{Connection, Database},
    fleet::{Fleet as Service, Settings},
};

use crate::{
    asked::get,
    common::fleet::{Fleet, Rig, config_of},
};

/// More than are read at a time.
const MANY: usize = 10_050;

/// As many rows, numbered from 1: what follows `INSERT INTO table`.
fn rows(columns: &str, values: &str) -> String {
    format!(
        "({columns}) WITH RECURSIVE many(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM many WHERE i < {MANY}) \
         SELECT {values} FROM many"
    )
}

fn fill(c: &mut Connection) {
    let node = rows(
        "nodeid, hostname, state, role, policy_server, requested, version",
        "'n' || i, 'h' || i, 'accepted', 'node', 'root', 0, 1",
    );
    let event = rows(
        "executiondate, nodeid, directiveid, ruleid, reportid, component, keyvalue, executiontimestamp, \
         eventtype, policy, msg",
        "'2026-01-02 03:04:06+00:00', 'n1', 'd', 'r', '0', 'File', 'None', '2026-01-02 03:04:05+00:00', \
         'result_success', 'p', 'right ' || i",
    );
    let bytes = |hexadecimal: String| match c {
        Connection::Postgres(_) => format!("decode('{hexadecimal}', 'hex')"),
        Connection::Sqlite(_) => format!("x'{hexadecimal}'"),
    };
    let (facts, digest) = (bytes(packed("{\"hardware\":{}}")), bytes("00".repeat(32)));
    let inventory = rows(
        "nodeid, received, made, since, digest, agent, agent_version, hostname, os_name, os_version, \
         os_full_name, arch, kernel, facts_id, chunks, volatile",
        &format!(
            "'n' || i, 1, 1, 1, {digest}, '', '', 'h' || i, '', '', 'Debian', '', '', (SELECT id FROM inventory_facts), '', {facts}"
        ),
    );
    for sql in [
        format!("INSERT INTO node {node}"),
        format!("INSERT INTO ruddersysevents {event}"),
        format!("INSERT INTO inventory_facts (digest, content) VALUES ({digest}, {facts})"),
        format!("INSERT INTO inventory {inventory}"),
    ] {
        c.execute(&sql).unwrap();
    }
}

/// gzip of it, in hexadecimal.
fn packed(json: &str) -> String {
    protocol::compression::gzip(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub async fn what_programs_read_is_whole(url: DatabaseUrl) {
    // A store makes the tables.
    drop(Rig::new(url.clone(), Fleet::new(1)));
    fill(&mut Connection::open(&url).unwrap());
    let database = Database::open(&config_of(url)).unwrap();
    let service = Service::new(database, Settings::new(Duration::from_secs(300)));
    let run = "runs/n1/2026-01-02T03:04:05Z";
    let limited = |query: &str| format!("{query}&limit=10");
    for (path, query, with_names) in [
        ("nodes", "format=csv", 1),
        ("compliance", "by=node&format=csv", 1),
        ("inventories", "format=csv&os=debian*", 1),
        ("inventories/export", "section=hardware", 0),
        (run, "format=text", 0),
        (run, "format=csv", 1),
    ] {
        let path = format!("/rudder/relay-api/1/{path}");
        let (status, headers, text) = get(&service, &path, query).await;
        assert_eq!(status, StatusCode::OK, "{path}?{query}: {text}");
        assert_eq!(text.lines().count(), MANY + with_names, "{path}?{query}");
        assert!(!headers.contains_key(header::LINK), "{path}?{query}: there is nothing more");
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), MANY + with_names, "{path}?{query}: each once");
        let (_, headers, text) = get(&service, &path, &limited(query)).await;
        assert_eq!(text.lines().count(), 10 + with_names, "{path}?{query}");
        assert!(headers.contains_key(header::LINK), "{path}?{query}");
    }
    let (_, headers, text) = get(&service, "/rudder/relay-api/1/nodes", "").await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["data"]["items"].as_array().map(Vec::len), Some(100));
    assert!(json["data"]["next"].is_string() && headers.contains_key(header::LINK));
}
