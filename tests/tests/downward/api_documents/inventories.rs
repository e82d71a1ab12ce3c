// SPDX-License-Identifier: Apache-2.0
//! Questions about inventories, on the local API.

use std::fmt::Write as _;

use diesel::connection::SimpleConnection;
use protocol::compression::gzip;
use tests::{Result, judge, server::Server};

use super::{
    ask::{Ask, To, ask},
    walk::Walk,
    world::World,
};

/// Each question, and a query with which it is understood.
fn questions() -> Vec<(&'static str, Ask, &'static str)> {
    let of_root = || ask().path("node_id", "root");
    vec![
        ("getNodeInventory", of_root(), "section=hardware,momentary"),
        ("getInventoryChanges", of_root(), "limit=1"),
        ("listInventories", ask(), "os=debian*"),
        ("exportInventories", ask(), "name=r*&section=packages"),
    ]
}

/// All answers of a server that can answer, and of one that has nothing to answer from.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    judge::sqlite(world.realm.root.database()?)?.batch_execute(&rows())?;
    let (to, without) = (To::local(&world.realm.root), To::local(&world.closed));
    for (id, ask, query) in questions() {
        walk.local.expect(200, id, &to, &ask)?;
        walk.local.expect(200, id, &to, &ask.clone().query(query))?;
        walk.local.expect(400, id, &to, &ask.clone().query("no_such_member=1"))?;
        walk.local.expect(404, id, &without, &ask)?;
    }
    for id in ["getNodeInventory", "getInventoryChanges"] {
        walk.local.expect(404, id, &to, &ask().path("node_id", "nobody"))?;
    }
    let then = ask().path("node_id", "root").query("at=1970-01-01T00:01:40Z&section=hardware");
    let then = walk.local.expect(200, "getNodeInventory", &to, &then)?;
    assert!(String::from_utf8_lossy(&then.body).contains("\"memory\":1"));
    let table = walk.local.expect(200, "listInventories", &to, &ask().query("format=csv"))?;
    assert_eq!(String::from_utf8_lossy(&table.body).lines().count(), 2);
    let lines = walk.local.expect(200, "exportInventories", &to, &ask())?;
    assert_eq!(lines.header("Content-Type"), "application/x-ndjson");
    Ok(())
}

/// What is answered when the database fails. The server is of no use afterwards.
pub fn failed(walk: &Walk, root: &Server) -> Result<()> {
    judge::sqlite(root.database()?)?.batch_execute("ALTER TABLE inventory RENAME TO inventory_gone")?;
    let to = To::local(root);
    for (id, ask, _) in questions() {
        walk.local.expect(503, id, &to, &ask)?;
    }
    Ok(())
}

/// An inventory of the root with one package, and a former one of another machine.
fn rows() -> String {
    let blob = |content: &str| {
        let digits = gzip(content.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        format!("X'{digits}'")
    };
    let digest = |n: u8| format!("X'{}'", format!("{n:02x}").repeat(32));
    let chunks = |first: u8| format!("{first}{}", ",0".repeat(63));
    format!(
        "INSERT INTO package VALUES (1, {d1}, 'bash', '5.2', 'amd64', 'dpkg', '', NULL, NULL), \
             (2, {d2}, 'bash', '5.1', 'amd64', 'dpkg', '', NULL, NULL); \
         INSERT INTO package_chunk VALUES (1, {d1}, 0, '1'), (2, {d2}, 0, '2'); \
         INSERT INTO inventory_facts VALUES (1, {d1}, {now}), (2, {d2}, {then}); \
         INSERT INTO inventory_updates VALUES (1, {d1}, {updates}); \
         INSERT INTO inventory VALUES ('root', 1000, 1000, 1000, {d1}, 'cfengine-community', '9.0', 'root.example', \
             'Debian', '12', 'Debian GNU/Linux 12', 'x86_64', '6.1', 1, 1, {momentary}, '{new}'); \
         INSERT INTO inventory_history VALUES ('root', 100, 200, 2, '{old}')",
        d1 = digest(1),
        d2 = digest(2),
        now = blob("{\"hardware\": {\"memory\": 2}}"),
        then = blob("{\"hardware\": {\"memory\": 1}}"),
        updates = blob("[{\"name\": \"bash\", \"version\": \"5.3\"}]"),
        momentary = blob("{\"log_date\": \"2026-01-02 03:04:05\"}"),
        new = chunks(1),
        old = chunks(2),
    )
}
