// SPDX-License-Identifier: Apache-2.0
//! Each cause is injected into a running or stopped server, and must be named first, with its place and a
//! remedy. Bounds are counted here; how long an answer takes is measured in `benches/why.rs`.

use std::{fs, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::{
    cluster,
    site::{Site, certificate_of},
    status::{lonely_relay, wait_for_closed_gate},
    support::wait_until,
};

pub const SQLITE: &str = "[output.database]\nurl = \"sqlite:DIR/relayd.db\"\n";
pub const REGISTRY: &str =
    "[output.database]\nurl = \"sqlite:DIR/relayd.db\"\n[nodes]\nsource = \"database\"\n";

/// What `relayd why` answers; nobody is late here.
pub fn ask(site: &Site, node: &str) -> (i32, Value) {
    let said = site.run(&["why", "--json", "--wait", "20s", node]);
    let answer = said.json();
    assert_eq!(said.code == 1, answer["cause"].is_object(), "{answer:#}");
    (said.code, answer)
}

/// The cause is found by this check, and says this.
pub fn blames(site: &Site, node: &str, check: &str, says: &str) -> Value {
    let (code, answer) = ask(site, node);
    let cause = &answer["cause"];
    assert!(
        code == 1
            && cause["check"] == check
            && cause["text"].as_str().is_some_and(|text| text.contains(says)),
        "expected {check}: …{says}…, got {answer:#}"
    );
    assert!(!cause["remedy"].as_str().unwrap().is_empty() && !cause["place"].as_str().unwrap().is_empty());
    answer
}

pub fn name(start: DateTime<Utc>, node: &str) -> String {
    format!("{}@{node}.log", start.format("%Y-%m-%dT%H:%M:%S+00:00"))
}

/// Runs of a node: begun and stored so many minutes ago.
pub fn runs(site: &Site, node: &str, ago: &[(i64, i64)]) {
    let now = Utc::now();
    let text =
        |minutes: i64| (now - TimeDelta::minutes(minutes)).format("%Y-%m-%d %H:%M:%S+00:00").to_string();
    // The latest stored has the highest id.
    let values = ago.iter().map(|(begun, stored)| {
        format!("('{node}', '{}', 'x', {}, '{}')", text(*begun), 1_000_000 - stored, text(*stored))
    });
    let values: Vec<_> = values.collect();
    site.sql(&format!(
        "INSERT INTO reportsexecution (nodeid, date, nodeconfigid, insertionid, insertiondate) VALUES {}",
        values.join(", ")
    ));
}

#[test]
fn causes_of_single_nodes_of_a_root() {
    let mut site = Site::root(&format!("catchup.frequency = 1\n{SQLITE}"));
    let sound = [
        "leftover",
        "oddname",
        "badsig",
        "partial",
        "ahead",
        "behind",
        "stale",
        "seldom",
        "missing",
        "fresh",
        "overtaken",
    ];
    site.know(&sound);
    site.list("nocert", &protocol::hash::KeyHash::sha256_of(b"a").to_string());
    site.list("otherkey", &protocol::hash::KeyHash::sha256_of(b"a").to_string());
    site.certify(&certificate_of("otherkey"));
    site.start();
    let now = Utc::now();
    let minutes = |number: u64| Duration::from_secs(60 * number);

    // Identity.
    blames(&site, "stranger", "identity", "no node \"stranger\" is known here");
    blames(&site, "nocert", "identity", "there is no certificate of");
    blames(&site, "otherkey", "identity", "another key");

    // The spool.
    site.put("reports/incoming/.davfs.tmp2024-05-01T02:03:04+00:00@leftover.log.gz", "", minutes(30));
    blames(&site, "leftover", "spool", "an upload broke off 30m ago");
    site.put("reports/incoming/2024-05-01T02:03:04+00:00@oddname.log.gz.new", "", minutes(30));
    blames(&site, "oddname", "spool", "leaves this file alone");

    // All that needs only files is the same with the default wait, whoever is late.
    for (node, check) in [
        ("stranger", "identity"),
        ("nocert", "identity"),
        ("otherkey", "identity"),
        ("leftover", "spool"),
        ("oddname", "spool"),
    ] {
        let said = site.run(&["why", "--json", node]);
        assert!(said.code == 1 && said.json()["cause"]["check"] == check, "{said:?}");
    }

    // What the daemon itself refuses.
    site.put(&format!("reports/incoming/{}", name(now, "badsig")), "not signed\n", minutes(1));
    site.put(
        &format!("reports/incoming/{}", name(now - TimeDelta::minutes(9), "overtaken")),
        "x\n",
        minutes(9),
    );
    wait_until("both are refused", || {
        site.run(&["status", "--json"]).json()["status"]["reports"]["failed"] == 2
    });
    let answer = blames(&site, "badsig.example.org", "failed", "refused as bad_signature");
    assert!(answer["cause"]["place"].as_str().unwrap().ends_with("@badsig.log"), "{answer:#}");
    runs(&site, "overtaken", &[(2, 2)]);
    let (code, answer) = ask(&site, "overtaken");
    assert_eq!((code, &answer["verdict"]), (0, &"fresh".into()), "{answer:#}");

    // What is stored.
    site.sql(&format!(
        "INSERT INTO run_log (nodeid, digest, date, file, reports) VALUES \
         ('partial', zeroblob(32), '{}', 'f.log', 3)",
        now.format("%Y-%m-%d %H:%M:%S+00:00")
    ));
    runs(&site, "partial", &[(20, 20)]);
    blames(&site, "partial", "database", "no run is recorded");

    // Clocks.
    runs(&site, "ahead", &[(-60, 30)]);
    blames(&site, "ahead", "clock", "its clock is ahead");
    runs(&site, "behind", &[(121, 1), (126, 6), (131, 11)]);
    blames(&site, "behind", "clock", "its clock is behind");

    // Schedule.
    runs(&site, "stale", &[(60, 60), (65, 65), (70, 70), (75, 75)]);
    let answer = blames(&site, "stale", "schedule", "nothing has come since");
    assert_eq!(answer["verdict"], "stale");
    let answer = blames(&site, "missing", "schedule", "no run of it was ever stored");
    assert_eq!(answer["verdict"], "missing");
    runs(&site, "seldom", &[(60, 60), (120, 120), (180, 180), (240, 240)]);
    runs(&site, "fresh", &[(3, 3), (8, 8)]);
    for node in ["seldom", "fresh"] {
        let (code, answer) = ask(&site, node);
        assert_eq!((code, &answer["verdict"]), (0, &"fresh".into()), "{answer:#}");
    }
    let human = site.run(&["why", "--wait", "20s", "stale"]);
    assert!(human.out.starts_with("error    schedule      stale.example.org (stale): "), "{}", human.out);
    assert!(human.out.contains(" -> on the node: `agent status`"), "{}", human.out);
    let named = site.run(&["why", "--wait", "20s", "id:nobody!"]);
    assert_eq!(named.code, 1, "{named:?}");
    for no_name in ["", "a b"] {
        assert_eq!(site.run(&["why", no_name]).code, 2, "{no_name:?}");
    }
    site.list("twin", "");
    site.list("twin.example.org", "");
    assert_eq!(site.run(&["why", "twin.example.org"]).code, 2);

    // The list changed, and the daemon did not take it up.
    site.know(&["late"]);
    blames(&site, "late", "identity", "the daemon works with 14 nodes, the list has 17");
    // It broke.
    fs::write(site.at("nodeslist.json"), "{").unwrap();
    blames(&site, "stale", "identity", "node list");
}

#[test]
fn causes_of_a_whole_server() {
    let mut site = Site::root(&format!("catchup.frequency = 1\n{SQLITE}"));
    site.know(&["n1"]);
    site.run(&["database", "migrate"]);
    runs(&site, "n1", &[(60, 60)]);

    // A file waits, and nobody delivers it: the daemon is the cause, the file its trace.
    let waits =
        site.put(&format!("reports/incoming/{}", name(Utc::now(), "n1")), "x", Duration::from_secs(60));
    let answer = blames(&site, "n1", "spool", "the daemon does not run");
    let findings = answer["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|one| one["level"] == "warning" && one["place"] == waits.display().to_string())
    );

    // The database is the cause of the daemon that does not run.
    let database = site.at("relayd.db");
    fs::rename(&database, site.at("kept.db")).unwrap();
    let answer = blames(&site, "n1", "database", "is not there");
    assert!(!database.exists(), "asking makes no database");
    assert_eq!(answer["cause"]["place"], database.display().to_string());
    fs::write(&database, "this is no database, whatever its name says; and long enough to be read as one")
        .unwrap();
    blames(&site, "n1", "database", "not a database");
    fs::rename(site.at("kept.db"), &database).unwrap();
    fs::remove_file(waits).unwrap();

    // Something else has the place of the directory.
    fs::remove_dir(site.at("reports/incoming")).unwrap();
    blames(&site, "n1", "spool", "the daemon does not run");
    fs::write(site.at("reports/incoming"), "").unwrap();
    blames(&site, "n1", "spool", "Not a directory");
    fs::remove_file(site.at("reports/incoming")).unwrap();
    // A running daemon makes it.
    site.start();
    blames(&site, "n1", "schedule", "nothing has come since");
    site.stop();

    // There is no room, as the gateway is told to see it.
    let main = site.at("etc/main.conf");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, format!("{text}[gateway]\nlisten = \"127.0.0.1:0\"\nhigh_water_percent = 1\n")).unwrap();
    blames(&site, "n1", "spool", "more than 1 % used");
    fs::write(&main, text.replace("output = \"database\"", "output = \"disabled\"")).unwrap();
    blames(&site, "n1", "spool", "does nothing with run logs");
}

#[test]
fn causes_in_the_registry() {
    let mut site = Site::root(REGISTRY);
    site.start();
    let now = Utc::now().timestamp();
    let mut sql = "BEGIN; UPDATE node_registry SET version = version + 1;".to_owned();
    for (node, state) in
        [("waits", "pending"), ("gone", "revoked"), ("no", "rejected"), ("claimed", "accepted")]
    {
        sql += &format!(
            "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) SELECT \
             '{node}', '{node}.example.org', '{state}', 'node', 'root', {now}, version FROM node_registry; \
             INSERT INTO node_key (nodeid, key_hash, added) VALUES ('{node}', '{}', {now});",
            protocol::hash::KeyHash::sha256_of(node.as_bytes())
        );
    }
    site.sql(&format!(
        "{sql} INSERT INTO node_conflict (nodeid, kind, detail, first_seen, last_seen, count) VALUES \
         ('claimed', 'other_key', 'another key asked for this id', {now}, {now}, 1); COMMIT"
    ));
    wait_until("the list is written", || {
        fs::read_to_string(site.at("nodeslist.json")).is_ok_and(|list| list.contains("claimed"))
    });
    blames(&site, "waits.example.org", "identity", "it waits to be accepted");
    blames(&site, "gone", "identity", "it was revoked");
    blames(&site, "no", "identity", "it was rejected");
    blames(&site, "claimed", "identity", "another key asked for this id");
    site.sql("UPDATE node_conflict SET resolved = 1; UPDATE node SET last_contact = strftime('%s', 'now')");
    blames(&site, "claimed", "schedule", "but it is there");
}

#[test]
fn causes_in_postgresql() {
    let cluster = cluster::shared();
    let database = cluster.create_database();
    let url = cluster.url("postgres", &database);
    let on = |migrate: &str| {
        Site::root(&format!("[output.database]\nurl = \"{url}\"\nmigrate_at_start = {migrate}\n"))
    };
    let mut site = on("false");
    site.know(&["n1"]);
    blames(&site, "n1", "database", "the database lacks");
    site.run(&["database", "migrate"]);
    site.start();
    blames(&site, "n1", "schedule", "no run of it was ever stored");
    // Somebody holds a lock: only then is it waited for in vain, so that this can be short.
    let mut holder =
        relayd::db::Connection::open(&relayd::config::DatabaseUrl::Postgres(url.clone())).unwrap();
    holder.execute("BEGIN; LOCK TABLE reportsexecution IN ACCESS EXCLUSIVE MODE").unwrap();
    let said = site.run(&["why", "--json", "--wait", "2s", "n1"]);
    let cause = &said.json()["cause"];
    assert!(cause["check"] == "database" && cause["text"] == "it does not answer within 2s", "{said:?}");
    holder.execute("ROLLBACK").unwrap();
    // A server that is not there.
    let gone = url.replace(&database, "no_such_database");
    let text = fs::read_to_string(site.at("etc/main.conf")).unwrap().replace(&url, &gone);
    fs::write(site.at("etc/main.conf"), text).unwrap();
    let answer = blames(&site, "n1", "database", "no_such_database");
    assert_eq!(answer["verdict"], "unknown");
}

#[test]
fn causes_on_a_relay() {
    let mut site = lonely_relay();
    site.list("n1", "");
    let list = fs::read_to_string(site.at("nodeslist.json")).unwrap();
    fs::write(
        site.at("nodeslist.json"),
        list.replace("\"policy-server\":\"root\"", "\"policy-server\":\"relay\""),
    )
    .unwrap();
    let waits =
        site.put(&format!("reports/incoming/{}", name(Utc::now(), "n1")), "x", Duration::from_secs(60));
    site.start();
    wait_for_closed_gate(&site);
    // No key of the node is known, which comes before; it has one now.
    blames(&site, "n1", "identity", "no key of");
    let list = fs::read_to_string(site.at("nodeslist.json")).unwrap();
    let hash = protocol::hash::KeyHash::sha256_of(b"a").to_string();
    fs::write(
        site.at("nodeslist.json"),
        list.replace("\"key-hash\":\"\"", &format!("\"key-hash\":\"{hash}\"")),
    )
    .unwrap();
    let answer = blames(&site, "n1", "uplink", "it takes nothing: cannot connect");
    let trace = answer["findings"].as_array().unwrap().iter().find(|one| one["check"] == "spool").unwrap();
    assert_eq!((&trace["level"], &trace["place"]), (&"warning".into(), &waits.display().to_string().into()));
    // A node of another relay.
    let list = fs::read_to_string(site.at("nodeslist.json")).unwrap();
    fs::write(
        site.at("nodeslist.json"),
        list.replace("\"policy-server\":\"relay\"", "\"policy-server\":\"other\""),
    )
    .unwrap();
    blames(&site, "n1", "identity", "is not below this server");
    // The list was not loaded. Here nobody knows of which nodes runs are stored.
    site.list_below("n1", &hash, "relay");
    site.list_below("n2", "", "relay");
    blames(&site, "n1", "identity", "the daemon works with");
}

/// An answer costs a bounded number of names, however many files there are; and it says when it saw only a part.
#[test]
fn the_work_for_an_answer_is_bounded() {
    use relayd::why::{Bounds, Evidence, judge};
    let site = Site::root(SQLITE);
    for number in 0..300 {
        let ago = Duration::from_secs(60);
        site.put(&format!("reports/incoming/2024-05-01T02:03:04+00:00@other-{number}.log"), "", ago);
    }
    let config = relayd::config::load(&site.at("etc")).unwrap().config;
    for (names, expected, cut) in [(100, 200, true), (1000, 300, false)] {
        let evidence = Evidence::gather(&config, "n1", Bounds { names, ..Bounds::default() }).unwrap();
        assert!(evidence.files.names_read <= expected && evidence.files.names_read >= expected.min(100));
        let told = judge(&evidence).findings.iter().any(|one| one.text.starts_with("only "));
        assert_eq!(told, cut);
    }
    assert!(!site.at("relayd.db").exists());
}
