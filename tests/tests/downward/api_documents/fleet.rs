// SPDX-License-Identifier: Apache-2.0
//! Questions about the state of the fleet, on the local API.

use diesel::connection::SimpleConnection;
use tests::{Result, judge, server::Server};

use super::{
    ask::{Ask, To, ask},
    walk::Walk,
    world::World,
};

/// Each question, asked so that it is understood.
fn questions() -> Vec<(&'static str, Ask)> {
    vec![("listNodes", ask())]
}

/// All answers of a server that can answer, and of one that has nothing to answer from.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    let (to, without) = (To::local(&world.realm.root), To::local(&world.closed));
    for (id, ask) in questions() {
        walk.local.expect(200, id, &to, &ask)?;
        walk.local.expect(400, id, &to, &ask.clone().query("no_such_member=1"))?;
        walk.local.expect(404, id, &without, &ask)?;
    }
    Ok(())
}

/// What is answered when the database fails. The server is of no use afterwards.
pub fn failed(walk: &Walk, root: &Server) -> Result<()> {
    let database = root.database()?;
    judge::sqlite(database)?.batch_execute("ALTER TABLE node RENAME TO node_gone")?;
    let to = To::local(root);
    for (id, ask) in questions() {
        walk.local.expect(503, id, &to, &ask)?;
    }
    Ok(())
}
