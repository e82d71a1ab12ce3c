// SPDX-License-Identifier: Apache-2.0
//! What `relayd why` must not name as the cause: who is only late, and traces that later runs have overtaken.

use std::{net::TcpListener, time::Duration};

use chrono::{TimeDelta, Utc};
use protocol::hash::KeyHash;
use serde_json::Value;

use crate::{
    cluster,
    site::Site,
    status::relay_below,
    why::{REGISTRY, SQLITE, ask, blames, name, runs},
};

/// What `relayd why` finds with the wait that it has by default.
fn at_once(site: &Site, node: &str) -> (i32, Value) {
    let said = site.run(&["why", "--json", node]);
    (said.code, said.json())
}

fn finding<'a>(answer: &'a Value, check: &str) -> &'a Value {
    let mut findings = answer["findings"].as_array().unwrap().iter();
    findings.find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {answer:#}"))
}

/// A server above that is further away than the default wait is no cause. Here it is infinitely far away: the
/// connection is made, and nothing comes back.
#[test]
fn a_distant_uplink_is_no_cause() {
    let above = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut site = relay_below(above.local_addr().unwrap().port());
    site.list_below("n1", &KeyHash::sha256_of(b"a").to_string(), "relay");
    // The daemon that does not run is the cause, and not who is late.
    let said = site.run(&["why", "--json", "--wait", "1s", "n1"]);
    assert_eq!(said.json()["cause"]["check"], "spool", "{said:?}");
    site.start();
    let (code, answer) = at_once(&site, "n1");
    assert_eq!((code, &answer["cause"], &answer["verdict"]), (0, &Value::Null, &"unknown".into()));
    let uplink = finding(&answer, "uplink");
    assert_eq!(uplink["level"], "unknown", "{uplink}");
    assert!(uplink["remedy"].as_str().unwrap().contains("--wait 5s"), "{uplink}");
    // Who keeps silent for seconds is one.
    let said = site.run(&["why", "--json", "--wait", "2s", "n1"]);
    let cause = &said.json()["cause"];
    assert!(cause["check"] == "uplink" && cause["text"] == "it does not answer within 2s", "{said:?}");
}

/// A table that somebody holds locked looks, for a short wait, like a database that is slow.
#[test]
fn a_slow_database_is_no_cause() {
    let cluster = cluster::shared();
    let url = cluster.url("postgres", &cluster.create_database());
    let mut site = Site::root(&format!("[output.database]\nurl = \"{url}\"\n"));
    site.know(&["n1"]);
    site.start();
    assert_eq!(ask(&site, "n1").1["cause"]["check"], "schedule");
    let mut holder = relayd::db::Connection::open(&relayd::config::DatabaseUrl::Postgres(url)).unwrap();
    holder.execute("BEGIN; LOCK TABLE reportsexecution IN ACCESS EXCLUSIVE MODE").unwrap();
    let (code, answer) = at_once(&site, "n1");
    assert_eq!((code, &answer["cause"], &answer["verdict"]), (0, &Value::Null, &"unknown".into()));
    assert_eq!(finding(&answer, "database")["level"], "unknown", "{answer:#}");
}

const DAY: Duration = Duration::from_secs(86_400);

/// The runs of this node come: whatever else is found is a warning, and the command ends well.
fn is_fresh(site: &Site, node: &str, check: &str, says: &str) {
    let (code, answer) = ask(site, node);
    let trace = finding(&answer, check);
    assert_eq!(
        (code, &answer["verdict"], &answer["cause"]),
        (0, &"fresh".into(), &Value::Null),
        "{answer:#}"
    );
    assert!(trace["level"] == "warning" && trace["text"].as_str().unwrap().contains(says), "{answer:#}");
    let human = site.run(&["why", "--wait", "20s", node]);
    assert!(human.out.lines().next().unwrap().contains("run logs come as they should"), "{}", human.out);
}

/// The node is away, and that is the cause: the trace comes after it.
fn is_away(site: &Site, node: &str, check: &str) {
    let answer = blames(site, node, "schedule", "nothing has come since");
    let trace = finding(&answer, check);
    assert!(
        trace["level"] == "warning" && trace["text"].as_str().unwrap().ends_with("later runs were stored"),
        "{answer:#}"
    );
}

/// For each kind of trace in the spool: it counts until a later run is stored.
#[test]
fn traces_that_later_runs_have_overtaken_are_no_causes() {
    let mut site = Site::root(SQLITE);
    let kinds = ["broken", "odd", "refused"];
    for kind in kinds {
        site.know(&[&format!("{kind}-fresh"), &format!("{kind}-away"), &format!("{kind}-new")]);
    }
    site.start();
    let then = Utc::now() - TimeDelta::days(3);
    for kind in kinds {
        for node in ["fresh", "away", "new"].map(|state| format!("{kind}-{state}")) {
            let log = name(then, &node);
            let path = match kind {
                "broken" => format!("reports/incoming/.davfs.tmp{log}"),
                "odd" => format!("reports/incoming/{log}.new"),
                _ => format!("reports/failed/{log}"),
            };
            site.put(&path, "", 3 * DAY);
        }
        let check = if kind == "refused" { "failed" } else { "spool" };
        // Older runs do not overtake it.
        let (fresh, away, new) = (format!("{kind}-fresh"), format!("{kind}-away"), format!("{kind}-new"));
        runs(&site, &new, &[(6000, 6000)]);
        blames(&site, &new, check, "");
        runs(&site, &fresh, &[(2, 2), (7, 7)]);
        is_fresh(&site, &fresh, check, "later runs were stored");
        runs(&site, &away, &[(300, 300), (305, 305)]);
        is_away(&site, &away, check);
    }
    // What came after them is a cause, also beside an old trace.
    let since = Utc::now() - TimeDelta::minutes(20);
    site.put(&format!("reports/incoming/{}.new", name(since, "odd-away")), "", Duration::from_secs(1200));
    blames(&site, "odd-away", "spool", "leaves this file alone");
}

/// Whoever looks for one node is not told about others.
#[test]
fn a_list_that_was_not_loaded_is_a_cause_for_its_new_nodes_only() {
    let mut site = Site::root(SQLITE);
    site.know(&["fresh", "away"]);
    site.start();
    runs(&site, "fresh", &[(2, 2), (7, 7)]);
    runs(&site, "away", &[(300, 300), (305, 305)]);
    site.know(&["new"]);
    blames(&site, "new", "identity", "the daemon works with 3 nodes, the list has 4");
    is_fresh(&site, "fresh", "identity", "the daemon works with 3 nodes");
    blames(&site, "away", "schedule", "nothing has come since");
    // One of which the daemon has forgotten the key is such a node, too.
    let log = site.put(&format!("reports/failed/{}", name(Utc::now(), "away")), "", Duration::ZERO);
    let reason = serde_json::json!({
        "reason": "unknown_node", "detail": "not in the list", "time": Utc::now().to_rfc3339(),
        "queue_id": "q", "spool": "reports", "name": "n"
    });
    std::fs::write(format!("{}.reason", log.display()), reason.to_string()).unwrap();
    blames(&site, "away", "identity", "the daemon works with 3 nodes");
}

#[test]
fn claims_that_later_runs_have_overtaken_are_no_causes() {
    let mut site = Site::root(REGISTRY);
    site.start();
    let then = (Utc::now() - TimeDelta::days(3)).timestamp();
    for node in ["fresh", "away"] {
        site.sql(&format!(
            "BEGIN; UPDATE node_registry SET version = version + 1; \
             INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) SELECT \
             '{node}', '{node}.example.org', 'accepted', 'node', 'root', {then}, version FROM node_registry; \
             INSERT INTO node_key (nodeid, key_hash, added) VALUES ('{node}', '{}', {then}); \
             INSERT INTO node_conflict (nodeid, kind, detail, first_seen, last_seen, count) VALUES \
             ('{node}', 'other_key', 'another key asked for this id', {then}, {then}, 1); COMMIT",
            KeyHash::sha256_of(node.as_bytes())
        ));
    }
    crate::support::wait_until("the list is written", || {
        let list = std::fs::read_to_string(site.at("nodeslist.json"));
        list.is_ok_and(|list| list.contains("fresh") && list.contains("away"))
    });
    blames(&site, "away", "identity", "another key asked for this id");
    runs(&site, "fresh", &[(2, 2), (7, 7)]);
    runs(&site, "away", &[(300, 300), (305, 305)]);
    is_fresh(&site, "fresh", "identity", "another key asked for this id");
    is_away(&site, "away", "identity");
}
