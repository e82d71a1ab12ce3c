// SPDX-License-Identifier: Apache-2.0
//! Inventories in the database: once what many nodes have, nothing again that is unchanged, history.

use std::thread;

use futures_util::future::join_all;
use protocol::inventory::{
    Content, Rudder,
    check::Checked,
    model::AccessLog,
    software::{Process, Software, SoftwareUpdate},
    system::OperatingSystem,
};
use relayd::{
    config::DatabaseUrl,
    db::{Connection, Database, migrations, query::Value},
    fleet::{Paging, Trouble},
    inventories::{
        collect::{self, Removed},
        questions::{self, Filter, Wanted},
        record::Record,
        store::{Store, StoreError},
        write,
    },
    registry::admin,
};

use crate::{
    common::{cluster::shared, fleet::config_of},
    on_both,
    rig::Place,
};

on_both!(
    what_nodes_have_in_common_is_stored_once_and_changes_are_kept,
    late_inventories_find_their_place,
    two_servers_store_the_same_packages_at_the_same_moment,
    the_export_comes_in_pages_and_with_the_sections_asked_for,
    what_nobody_names_any_more_is_removed_and_nothing_else,
    of_a_node_that_nobody_decided_about_nothing_is_kept,
);

pub const MADE: i64 = 1_800_000_000;

/// An inventory of a node with packages `name=version`.
fn record(node: &str, made: i64, packages: &[&str]) -> Record {
    let mut content = Content {
        access_log: Some(AccessLog { log_date: Some(made.to_string()) }),
        operating_system: Some(OperatingSystem {
            full_name: Some("Debian GNU/Linux 12".into()),
            name: Some("Debian".into()),
            ..OperatingSystem::default()
        }),
        rudder: vec![Rudder { uuid: Some(node.into()), ..Rudder::default() }],
        ..Content::default()
    };
    content.software.extend(packages.iter().map(|package| {
        let (name, version) = package.split_once('=').unwrap();
        Software {
            name: Some(name.into()),
            version: Some(version.into()),
            arch: Some("amd64".into()),
            from: Some("deb".into()),
            ..Software::default()
        }
    }));
    let update =
        SoftwareUpdate { name: Some("bash".into()), version: Some("9".into()), ..SoftwareUpdate::default() };
    content.software_updates.push(update);
    content.processes.push(Process { pid: u64::try_from(made).ok(), ..Process::default() });
    record_of(node, made, &format!("{packages:?}"), content)
}

/// An inventory of a node that says this; `besides` tells it from others of the same time.
pub fn record_of(node: &str, made: i64, besides: &str, content: Content) -> Record {
    let digest = openssl::sha::sha256(format!("{node} {made} {besides}").as_bytes());
    let checked = Checked {
        node_id: node.parse().unwrap(),
        hostname: format!("{node}.example.org"),
        policy_server: "root".parse().unwrap(),
        agent: "cfengine-community".into(),
        agent_version: "9.0.0".into(),
        os_name: "Debian".into(),
        kernel: "6.1.0".into(),
        certificate: String::new(),
        content,
    };
    Record::new(checked, made, digest)
}

pub fn store(c: &mut Connection, records: &[Record]) {
    let records: Vec<&Record> = records.iter().collect();
    write::write(c, &records, MADE + 1_000_000).unwrap();
}

fn count(c: &mut Connection, table: &str) -> i64 {
    c.number(&format!("SELECT count(*) AS number FROM {table}"), &[]).unwrap()
}

const CONTENTS: [&str; 4] = ["package", "package_chunk", "inventory_facts", "inventory_updates"];

fn page(limit: usize) -> Paging {
    Paging { after: None, limit }
}

async fn what_nodes_have_in_common_is_stored_once_and_changes_are_kept(place: Place) {
    let mut c = place.connect();
    let packages = ["bash=5.2", "zlib1g=1.3", "openssl=3.0.11", "bash=5.2"];
    let both = [record("n1", MADE, &packages), record("n2", MADE, &packages)];
    store(&mut c, &both);
    // bash, zlib1g and openssl are in three buckets.
    let stored = CONTENTS.map(|table| count(&mut c, table));
    assert_eq!(stored, [3, 3, 2, 1]);

    // The same again, and one that says the same later: nothing is added.
    store(&mut c, &both);
    store(&mut c, &[record("n1", MADE + 500, &packages)]);
    assert_eq!(CONTENTS.map(|table| count(&mut c, table)), stored);
    assert_eq!(count(&mut c, "inventory_history"), 0);
    let now = questions::inventory(&mut c, "n1", None, &Wanted::default()).unwrap();
    assert_eq!(now.sections["momentary"]["processes"][0]["pid"], MADE + 500, "what changes is the newest");
    assert_eq!(now.sections["packages"].as_array().unwrap().len(), 3);
    assert_eq!(now.sections["software_updates"][0]["version"], "9");
    assert_eq!((now.since.as_str(), now.made.as_str()), ("2027-01-15T08:00:00Z", "2027-01-15T08:08:20Z"));

    // One package more, one gone, one other.
    store(&mut c, &[record("n1", MADE + 1000, &["bash=5.3", "openssl=3.0.11", "curl=8"])]);
    assert_eq!(count(&mut c, "inventory_history"), 1);
    let changes = questions::changes(&mut c, "n1", &page(10)).unwrap();
    let change = &changes.items[0];
    let said: Vec<_> =
        change.packages.iter().map(|p| (&*p.name, p.from.as_deref(), p.to.as_deref())).collect();
    assert_eq!(
        said,
        [("bash", Some("5.2"), Some("5.3")), ("curl", None, Some("8")), ("zlib1g", Some("1.3"), None)]
    );
    assert_eq!((&*change.before, &*change.at), ("2027-01-15T08:08:20Z", "2027-01-15T08:16:40Z"));
    assert!(change.facts.is_empty() && changes.next.is_none());

    // What it was before.
    let only = Wanted::read(Some("packages")).unwrap();
    let then = questions::inventory(&mut c, "n1", Some(MADE + 999), &only).unwrap();
    assert_eq!(then.sections["packages"].as_array().unwrap().len(), 3);
    assert_eq!(then.sections["packages"][0]["version"], "5.2");
    assert!(matches!(questions::inventory(&mut c, "n1", Some(MADE - 1), &only), Err(Trouble::Missing(_))));
    assert!(matches!(questions::inventory(&mut c, "n3", None, &only), Err(Trouble::Missing(_))));
}

/// Segments of a node, oldest first: since, last, version of its package.
fn segments(c: &mut Connection, node: &str) -> Vec<(i64, i64, String)> {
    let mut held = relayd::inventories::stored::timeline(c, node, i64::MAX, 100).unwrap();
    held.reverse();
    let only = Wanted::read(Some("packages")).unwrap();
    held.iter()
        .map(|held| {
            let then = questions::inventory(c, node, Some(held.since), &only).unwrap();
            let version = then.sections["packages"][0]["version"].as_str().unwrap().to_owned();
            (held.since - MADE, held.last - MADE, version)
        })
        .collect()
}

async fn late_inventories_find_their_place(place: Place) {
    let mut c = place.connect();
    let at = |after: i64, version: &str| record("n1", MADE + after, &[&format!("bash={version}")]);
    let segment = |since, last, version: &str| (since, last, version.to_owned());
    // In one transaction and in the wrong order.
    store(&mut c, &[at(300, "2"), at(100, "1"), at(200, "1")]);
    assert_eq!(segments(&mut c, "n1"), [segment(100, 200, "1"), segment(300, 300, "2")]);
    for (late, expected) in [
        // The current one began earlier.
        (at(280, "2"), vec![segment(100, 200, "1"), segment(280, 300, "2")]),
        // The former one ended later, and began earlier.
        (at(220, "1"), vec![segment(100, 220, "1"), segment(280, 300, "2")]),
        (at(50, "1"), vec![segment(50, 220, "1"), segment(280, 300, "2")]),
        // Something else between them, and before all.
        (at(250, "3"), vec![segment(50, 220, "1"), segment(250, 250, "3"), segment(280, 300, "2")]),
        // Within a segment nothing is known to have changed.
        (at(60, "9"), vec![segment(50, 220, "1"), segment(250, 250, "3"), segment(280, 300, "2")]),
        (at(290, "9"), vec![segment(50, 220, "1"), segment(250, 250, "3"), segment(280, 300, "2")]),
    ] {
        store(&mut c, &[late]);
        assert_eq!(segments(&mut c, "n1"), expected);
    }
    let now = questions::inventory(&mut c, "n1", None, &Wanted::default()).unwrap();
    assert_eq!(now.sections["momentary"]["processes"][0]["pid"], MADE + 300, "the newest by its date");
}

async fn two_servers_store_the_same_packages_at_the_same_moment(place: Place) {
    const NODES: usize = 60;
    let connect = || Database::open(&config_of(place.url.clone())).unwrap().connect().unwrap();
    let packages =
        |round: usize| -> Vec<String> { (0..200).map(|n| format!("p{n}={}", (round + n) % 7)).collect() };
    thread::scope(|scope| {
        for server in 0..3 {
            let mut c = connect();
            scope.spawn(move || {
                for round in 0..6 {
                    let packages = packages(round);
                    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
                    // The same nodes through all servers, in another order each time, and some of its own.
                    let records: Vec<Record> = (0..NODES)
                        .map(|n| (n * (server + 7)) % NODES)
                        .map(|n| record(&format!("n{n}"), MADE + round as i64, &packages))
                        .chain([record(&format!("own{server}"), MADE + round as i64, &packages)])
                        .collect();
                    for part in records.chunks(16) {
                        let part: Vec<&Record> = part.iter().collect();
                        // Another server may have been the first to store a node.
                        let stored = (0..10).find_map(|_| match write::write(&mut c, &part, MADE) {
                            Err(write::WriteError::Raced) => None,
                            other => Some(other),
                        });
                        stored.expect("one of ten attempts").unwrap();
                    }
                }
            });
        }
    });
    let mut c = connect();
    assert_eq!(count(&mut c, "inventory"), NODES as i64 + 3);
    assert_eq!(count(&mut c, "package"), 200 * 6);
    let all = questions::summaries(&mut c, &Filter::default(), &page(1000)).unwrap();
    assert!(all.items.iter().all(|one| one.times.made == MADE + 5));
    for node in ["n0", "n59", "own2"] {
        let states: Vec<_> =
            segments(&mut c, node).into_iter().map(|(since, last, _)| (since, last)).collect();
        assert_eq!(states, (0..6).map(|n| (n, n)).collect::<Vec<_>>(), "{node}");
    }
}

async fn the_export_comes_in_pages_and_with_the_sections_asked_for(place: Place) {
    let mut c = place.connect();
    let records: Vec<_> = (0..5).map(|n| record(&format!("n{n}"), MADE, &["bash=5.2"])).collect();
    store(&mut c, &records);
    let mut lines = Vec::new();
    let mut paging = page(2);
    loop {
        let (part, next) = questions::lines(&mut c, &Filter::default(), &Wanted::default(), &paging).unwrap();
        lines.extend(part);
        match next {
            Some(next) => paging.after = Some(next),
            None => break,
        }
    }
    let lines: Vec<serde_json::Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["node_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["n0", "n1", "n2", "n3", "n4"]);
    assert_eq!(lines[0]["made"], "2027-01-15T08:00:00Z");
    let sections: Vec<_> = lines[0]["sections"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(sections, ["operating_system", "rudder", "software_updates"]);
    let wanted = Wanted::read(Some("packages,momentary")).unwrap();
    let filter = Filter { name: Some("N3.*".into()), os: Some("debian*".into()) };
    let (line, next) = questions::lines(&mut c, &filter, &wanted, &page(10)).unwrap();
    assert_eq!(next, None);
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&line["node_id"], &line["sections"]["packages"][0]["name"]), (&"n3".into(), &"bash".into()));
    assert!(line["sections"]["momentary"]["processes"].is_array() && line["sections"]["rudder"].is_null());
}

async fn what_nobody_names_any_more_is_removed_and_nothing_else(place: Place) {
    let mut c = place.connect();
    store(&mut c, &[record("n1", MADE, &["bash=1", "curl=1"]), record("n2", MADE, &["bash=1"])]);
    store(&mut c, &[record("n1", MADE + 1, &["bash=2", "curl=1"])]);
    assert_eq!(collect::collect(&mut c).unwrap(), Removed::default(), "history names what was");
    let only = Wanted::read(Some("packages")).unwrap();
    let then = questions::inventory(&mut c, "n1", Some(MADE), &only).unwrap();

    // A node that is forgotten becomes history, which goes with retention.
    c.run("DELETE FROM inventory WHERE nodeid = $1", &[Value::Text("n1")]).unwrap();
    // bash=2 and its chunk; curl=1 is in the history still. Its facts are as in the history.
    let removed = collect::collect(&mut c).unwrap();
    assert_eq!(removed, Removed { chunks: 1, packages: 1, ..Removed::default() });
    let again = questions::inventory(&mut c, "n1", Some(MADE), &only).unwrap();
    assert_eq!(again.sections, then.sections);

    c.run("DELETE FROM inventory_history", &[]).unwrap();
    let removed = collect::collect(&mut c).unwrap();
    assert_eq!(removed, Removed { facts: 1, chunks: 1, packages: 1, ..Removed::default() });
    assert_eq!(CONTENTS.map(|table| count(&mut c, table)), [1, 1, 1, 1], "what n2 has");
    let n2 = questions::inventory(&mut c, "n2", None, &only).unwrap();
    assert_eq!(n2.sections["packages"][0]["version"], "1");
    // What was removed comes back.
    store(&mut c, &[record("n1", MADE + 2, &["bash=2", "curl=1"])]);
    assert_eq!(count(&mut c, "package"), 3);
}

async fn of_a_node_that_nobody_decided_about_nothing_is_kept(place: Place) {
    let mut c = place.connect();
    store(&mut c, &["n1", "n2"].map(|node| record(node, MADE, &["bash=5.2"])));
    for (node, state, decided) in [("n1", "pending", "NULL"), ("n2", "accepted", "1")] {
        c.execute(&format!(
            "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, decided, version) \
             VALUES ('{node}', '{node}', '{state}', 'node', 'root', 0, {decided}, 1)"
        ))
        .unwrap();
        admin::delete(&mut c, &[node.parse().unwrap()]).unwrap();
    }
    assert_eq!(count(&mut c, "inventory"), 0);
    assert_eq!(count(&mut c, "inventory_history"), 1);
    assert_eq!(count(&mut c, "inventory_history WHERE nodeid = 'n2'"), 1);
}

/// Missing rights are no fault of an inventory, whichever table they are missing for; what one inventory has in
/// it is no fault of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_nothing_is_told_from_an_inventory_that_it_does_not_take() {
    let name = shared().create_database();
    let owner = DatabaseUrl::Postgres(shared().url("postgres", &name));
    relayd::db::migrate(&config_of(owner.clone())).unwrap();
    let mut admin = Connection::open(&owner).unwrap();
    let role = format!("keeper_{name}");
    admin.execute(&format!("CREATE ROLE {role} LOGIN")).unwrap();
    migrations::grant_to(&mut admin, &role).unwrap();
    let limited = config_of(DatabaseUrl::Postgres(shared().url(&role, &name)));
    let keeper = Store::start(Database::open(&limited).unwrap()).unwrap();
    let send = |number: i64| {
        let package = format!("bash=5.{number}");
        let records = (0..5).map(|node| record(&format!("n{node}"), MADE + number, &[&package]));
        join_all(records.map(|record| keeper.store(Box::new(record))).collect::<Vec<_>>())
    };
    let rights =
        ["INSERT ON inventory", "INSERT ON inventory_history", "UPDATE ON inventory", "SELECT ON package"];
    for (number, right) in (0..).zip(rights) {
        admin.execute(&format!("REVOKE {right} FROM {role}")).unwrap();
        let ended = send(number).await;
        assert!(ended.iter().all(|one| matches!(one, Err(StoreError::Down(_)))), "{right}: {ended:?}");
        admin.execute(&format!("GRANT {right} TO {role}")).unwrap();
        assert_eq!(send(number).await, [const { Ok(()) }; 5], "{right}");
    }
    assert_eq!(count(&mut admin, "inventory WHERE nodeid LIKE 'relayd.rehearsal%'"), 0);
    admin
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such luck'; \
             END $$; CREATE TRIGGER poison BEFORE INSERT ON inventory FOR EACH ROW WHEN (NEW.nodeid = 'n3') \
             EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    let ended = send(9).await;
    assert!(matches!(&ended[3], Err(StoreError::This(error)) if error.contains("no such luck")), "{ended:?}");
    assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 4, "{ended:?}");
}
