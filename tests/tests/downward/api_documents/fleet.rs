// SPDX-License-Identifier: Apache-2.0
//! Questions about the state of the fleet, on the local API.

use diesel::connection::SimpleConnection;
use tests::{Result, judge, server::Server};

use super::{
    ask::{Ask, To, ask},
    walk::Walk,
    world::World,
};

/// The run that is there to be asked for.
const RUN: &str = "2026-01-02T03:04:05Z";

/// Each question, and a query with which it is understood.
fn questions() -> Vec<(&'static str, Ask, &'static str)> {
    let of_root = || ask().path("node_id", "root");
    vec![
        ("getCompliance", ask(), "by=component&status=failing"),
        ("getFailing", ask(), "component=File*"),
        ("getTimeline", of_root(), "from=1d"),
        ("getChanges", ask().query("from=1h"), "from=1h&by=component"),
        ("getRuns", ask(), "node=root"),
        ("getRun", of_root().path("start", RUN), "limit=10"),
        ("listNodes", ask(), "status=no_answer"),
        ("getNode", of_root(), ""),
        ("findPackages", ask().query("by=version"), "name=open*&version%3C=3.0%2Bx&version%3E1"),
        ("findUpdates", ask(), "by=node&kind=security"),
        ("findVulnerabilities", ask(), "by=finding&severity=high&fixed=true"),
    ]
}

/// All answers of a server that can answer, and of one that has nothing to answer from.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    judge::sqlite(world.realm.root.database()?)?.batch_execute(
        "INSERT INTO ruddersysevents (executiondate, nodeid, directiveid, ruleid, reportid, component, keyvalue, \
             executiontimestamp, eventtype, policy, msg) \
         VALUES ('2026-01-02 03:04:06+00:00', 'root', 'd', 'r', '0', 'File', 'None', \
             '2026-01-02 03:04:05+00:00', 'result_success', 'p', 'right')",
    )?;
    let (to, without) = (To::local(&world.realm.root), To::local(&world.closed));
    for (id, ask, query) in questions() {
        walk.local.expect(200, id, &to, &ask)?;
        let with_query = ask.clone().query(query);
        walk.local.expect(200, id, &to, &with_query)?;
        if id != "getNode" {
            let table = ask.clone().query(format!("{query}&format=csv"));
            let reply = walk.local.expect(200, id, &to, &table)?;
            assert_eq!(reply.header("Content-Type"), "text/csv; charset=utf-8", "{id}");
        }
        walk.local.expect(400, id, &to, &ask.clone().query("no_such_member=1"))?;
        walk.local.expect(404, id, &without, &ask)?;
    }
    let run = ask().path("node_id", "root").path("start", RUN).query("format=text");
    let text = walk.local.expect(200, "getRun", &to, &run)?;
    let expected = "R: @@p@@result_success@@r@@d@@0@@File@@None@@2026-01-02 03:04:05 +00:00##root@#right\n";
    assert_eq!(String::from_utf8_lossy(&text.body), expected);
    let other = ask().path("node_id", "root").path("start", "2026-01-02");
    walk.local.expect(404, "getRun", &to, &other)?;
    walk.local.expect(404, "getNode", &to, &ask().path("node_id", "nobody"))?;
    Ok(())
}

/// What is answered when the database fails. The server is of no use afterwards.
pub fn failed(walk: &Walk, root: &Server) -> Result<()> {
    let breaking = "ALTER TABLE node RENAME TO node_gone; \
         ALTER TABLE compliance_set RENAME TO compliance_set_gone; \
         ALTER TABLE package RENAME TO package_gone";
    judge::sqlite(root.database()?)?.batch_execute(breaking)?;
    let to = To::local(root);
    for (id, ask, _) in questions() {
        walk.local.expect(503, id, &to, &ask)?;
    }
    Ok(())
}
