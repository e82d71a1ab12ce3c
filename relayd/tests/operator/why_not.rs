// SPDX-License-Identifier: Apache-2.0
//! What `relayd why` must not name as the cause: who is only late.

use std::net::TcpListener;

use protocol::hash::KeyHash;
use serde_json::Value;

use crate::{cluster, site::Site, status::relay_below, why::ask};

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
