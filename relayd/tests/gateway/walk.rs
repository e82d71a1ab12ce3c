// SPDX-License-Identifier: Apache-2.0
//! Every route of the rule table, walked by every kind of identity: once where nodes are known by
//! their keys, once where they are known by an authority. A route that is new has to say here what
//! is expected of it.

use std::collections::BTreeSet;

use relayd::gateway::access::{Listener, Row, Who, table};

use crate::{harness::Reply, world::World};

/// What is expected of each walker on the routes of the gateway.
struct Expected {
    walkers: &'static [&'static str],
    /// Path, the node that it is about, and in the order of the walkers: `+` let in, whatever comes
    /// of it; `?` 401, nobody in particular asks; `-` 403, somebody who may not; `.` 404, as if
    /// it were not there.
    routes: &'static [(&'static str, &'static str, &'static str)],
}

const BY_KEY: Expected = Expected {
    walkers: &[
        "anonymous",
        "a stranger's certificate",
        "the node's key under nobody's name",
        "the node itself",
        "another node",
        "a relay above the node",
        "a relay elsewhere",
        "the upstream",
        "a revoked node",
        "the password",
        "the initial password",
        "a wrong password",
    ],
    routes: &[
        ("/uuid", "", "++++++++++++"),
        ("/reports/<file name>", "node", "?--+-+-+-+??"),
        // The password is for nodes of the list.
        ("/reports/<file name>", "newcomer", "?---------??"),
        ("/inventories/<file name>", "node", "?--+-+-+-?+?"),
        // A relay passes on what it got of a node that nobody knows yet.
        ("/inventories/<file name>", "newcomer", "?--+++++-?+?"),
        ("/inventory-updates/<file name>", "node", "?--+-+-+-+??"),
        ("/inventory-updates/<file name>", "newcomer", "?--------+??"),
        ("/enrolments/<node id>", "node", "++++++++++++"),
        ("/enrolments/<node id>", "newcomer", "++++++++++++"),
        ("/keys/<node id>", "node", "?--+-+-+-???"),
        ("/keys/<node id>", "newcomer", "?--------???"),
        ("/certificates/<node id>", "node", "?--+-+-+-???"),
        ("/certificates/<node id>", "newcomer", "?--------???"),
        ("/nodes", "", "?--+++++-???"),
        ("/identity", "", "?--+++++-???"),
        // What goes down, by services. Of another's it is not even told that it is there.
        ("/policies/<node id>/<path>", "node", "?--+.+.+-???"),
        ("/policies/<node id>/<path>", "newcomer", "?--.....-???"),
        ("/common/<path>", "", "?--+++++-???"),
        ("/rudder/relay-api/shared-folder/<path>", "", "?--+++++-???"),
        ("/rudder/relay-api/1/shared-folder/<path>", "", "?--+++++-???"),
        ("/rudder/relay-api/shared-files/<file>", "", "++++++++++++"),
        ("/rudder/relay-api/1/shared-files/<file>", "", "++++++++++++"),
        ("/rudder/relay-api/shared-files/<node id>/<file>", "node", "?--+.+.+-???"),
        ("/rudder/relay-api/1/shared-files/<node id>/<file>", "node", "?--+.+.+-???"),
        // Programs of this machine come without a certificate.
        ("/rudder/relay-api/remote-run/<targets>", "", "+------+-+++"),
        ("/rudder/relay-api/1/remote-run/<targets>", "", "+------+-+++"),
        ("/rudder/relay-api/2/remote-run", "", "+------+-+++"),
        ("/triggers", "", "?--+++++-???"),
        ("/triggers/<run>", "", "?--+++++-???"),
    ],
};

const BY_AUTHORITY: Expected = Expected {
    walkers: &[
        "anonymous",
        "named by another authority",
        "the node's key without the authority",
        "a certified stranger",
        "certified without a name",
        "the node itself",
        "another node",
        "a relay above the node",
        "a relay elsewhere",
        "the upstream",
        "a revoked node",
        "the password",
        "the initial password",
        "a wrong password",
    ],
    routes: &[
        // Whoever the authority certified, of whatever name.
        ("/uuid", "", "?--++++++++???"),
        ("/reports/<file name>", "node", "?----+-+-+-+??"),
        ("/reports/<file name>", "newcomer", "?-----------??"),
        ("/inventories/<file name>", "node", "?----+-+-+-?+?"),
        ("/inventories/<file name>", "newcomer", "?----+++++-?+?"),
        ("/inventory-updates/<file name>", "node", "?----+-+-+-+??"),
        ("/inventory-updates/<file name>", "newcomer", "?----------+??"),
        ("/enrolments/<node id>", "node", "++++++++++++++"),
        ("/enrolments/<node id>", "newcomer", "++++++++++++++"),
        ("/keys/<node id>", "node", "?----+-+-+-???"),
        ("/keys/<node id>", "newcomer", "?----------???"),
        ("/certificates/<node id>", "node", "?----+-+-+-???"),
        ("/certificates/<node id>", "newcomer", "?----------???"),
        ("/nodes", "", "?----+++++-???"),
        ("/identity", "", "?----+++++-???"),
        // What goes down, by services. Of another's it is not even told that it is there.
        ("/policies/<node id>/<path>", "node", "?----+.+.+-???"),
        ("/policies/<node id>/<path>", "newcomer", "?----.....-???"),
        ("/common/<path>", "", "?----+++++-???"),
        ("/rudder/relay-api/shared-folder/<path>", "", "?----+++++-???"),
        ("/rudder/relay-api/1/shared-folder/<path>", "", "?----+++++-???"),
        ("/rudder/relay-api/shared-files/<file>", "", "?--++++++++???"),
        ("/rudder/relay-api/1/shared-files/<file>", "", "?--++++++++???"),
        ("/rudder/relay-api/shared-files/<node id>/<file>", "node", "?----+.+.+-???"),
        ("/rudder/relay-api/1/shared-files/<node id>/<file>", "node", "?----+.+.+-???"),
        // Programs of this machine come without a certificate.
        ("/rudder/relay-api/remote-run/<targets>", "", "+--------+-+++"),
        ("/rudder/relay-api/1/remote-run/<targets>", "", "+--------+-+++"),
        ("/rudder/relay-api/2/remote-run", "", "+--------+-+++"),
        ("/triggers", "", "?----+++++-???"),
        ("/triggers/<run>", "", "?----+++++-???"),
    ],
};

fn rows(listener: Listener) -> Vec<Row> {
    table().into_iter().filter(|row| row.listener == listener && row.who != [Who::Nobody]).collect()
}

fn verdict(reply: &Reply) -> char {
    match reply.status {
        401 => '?',
        403 => '-',
        404 => '.',
        _ => '+',
    }
}

/// Each walker on each route.
async fn walk(mut world: World, expected: Expected) {
    let rows = rows(Listener::Gateway);
    let listed: BTreeSet<_> = rows.iter().map(|row| row.path).collect();
    let known: BTreeSet<_> = expected.routes.iter().map(|(path, ..)| *path).collect();
    assert_eq!(listed, known, "say in the expectations who may use the new route");
    for (rule, node, verdicts) in expected.routes {
        let row = rows.iter().find(|row| row.path == *rule).unwrap();
        assert_eq!(verdicts.len(), expected.walkers.len(), "{rule}");
        for method in row.methods.iter().filter(|method| **method != "HEAD") {
            for (walker, expected) in expected.walkers.iter().zip(verdicts.chars()) {
                let path = world.path(rule, node);
                let reply = world.request(walker, method, &path).await;
                assert_eq!(verdict(&reply), expected, "{walker}: {method} {path}: {reply:?}");
            }
        }
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn each_route_lets_in_whom_it_should_and_nobody_else() {
    walk(World::new().await, BY_KEY).await;
}

#[tokio::test]
async fn each_route_lets_in_whom_it_should_where_an_authority_says_who_is_who() {
    walk(World::by_authority().await, BY_AUTHORITY).await;
}

#[tokio::test]
async fn what_has_no_rule_is_found_by_nobody() {
    let mut world = World::new().await;
    let mut requests =
        vec![("GET", "/".to_owned()), ("GET", "/nodes/".into()), ("PUT", "/policies/x".into())];
    for row in rows(Listener::Gateway) {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let path = world.path(row.path, "node");
            let has_rule = |row: &Row| {
                let directory = row.path.split('<').next().unwrap();
                row.methods.contains(&method) && path.starts_with(directory)
            };
            if !rows(Listener::Gateway).iter().any(has_rule) {
                requests.push((method, path));
            }
        }
    }
    // The routes of the local API are not here, whoever asks.
    let here: Vec<_> = rows(Listener::Gateway).into_iter().map(|row| row.path).collect();
    for row in rows(Listener::Local) {
        assert_eq!(row.who, [Who::Loopback], "{}", row.path);
        if !here.contains(&row.path) {
            let path = world.path(row.path, "node");
            // An answer to HEAD has no body, which this client does not know.
            let methods = row.methods.iter().filter(|method| **method != "HEAD");
            requests.extend(methods.map(|method| (*method, path.clone())));
        }
    }
    for walker in BY_KEY.walkers {
        let (identity, headers) = world.walker(walker);
        let mut client = world.gateway.connect(identity).await;
        for (method, path) in &requests {
            let headers = format!("{headers}Content-Length: 0\r\n");
            let reply = client.ask(method, path, &headers).await;
            assert_eq!(reply.status, 404, "{walker}: {method} {path}");
        }
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn foreign_and_missing_look_the_same() {
    let world = World::new().await;
    for walker in ["another node", "a relay elsewhere", "anonymous", "a revoked node"] {
        for kind in ["keys", "certificates"] {
            let ask = async |node: &str| {
                let reply = world.request(walker, "PUT", &format!("/{kind}/{node}")).await;
                (reply.status, reply.body.replace(&format!("for {node}:"), "for it:"))
            };
            assert_eq!(ask("node").await, ask("missing").await, "{walker}");
        }
    }
    world.gateway.stop().await;
}
