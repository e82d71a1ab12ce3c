// SPDX-License-Identifier: Apache-2.0
//! Remote runs on both listeners, and what nodes hear and report of them.

use std::{thread, time::Duration};

use serde_json::json;
use tests::{
    Result,
    identity::{Identity, Keys},
    realm::Realm,
    server::Server,
    wait,
};

use super::{
    ask::{Ask, To, ask},
    document::Document,
    walk::Walk,
    world::World,
};

/// Operations of version 1.
const FIRST: [&str; 3] = ["runAll", "runNodes", "runNode"];
const ALL: [&str; 4] = ["runAll", "runNodes", "runNode", "run"];
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn about(node: &str) -> Ask {
    ask().path("node_id", node)
}

fn form(body: &str) -> Ask {
    about("nobody-knows-me").header(FORM.0, FORM.1).body(body.to_owned())
}

fn order(body: serde_json::Value) -> Ask {
    ask().header(JSON.0, JSON.1).body(body.to_string())
}

/// Requests that are answered at once. Without nodes below it, the server asks nobody.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    let server = &world.strict.root;
    for (document, to) in [(&walk.local, To::local(server)), (&walk.gateway, To::anonymous(server)?)] {
        for id in FIRST {
            document.expect_all(200, id, &to, &form("nodes=nobody-knows-me&keep_output=true"))?;
            document.expect_all(400, id, &to, &form("keep_output=perhaps"))?;
            document.expect_all(411, id, &to, &form("x=y").chunked())?;
            document.expect_all(413, id, &to, &form("").announced(2 << 20))?;
            document.expect_all(500, id, &to, &form("conditions=a&conditions=b"))?;
        }
        let answer = document.expect(200, "run", &to, &order(json!({"nodes": ["nobody-knows-me"]})))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("refused") && text.trim_end().ends_with('}'), "{text}");
        document.expect(400, "run", &to, &order(json!({"nodes": []})))?;
        document.expect(411, "run", &to, &order(json!({})).chunked())?;
        document.expect(413, "run", &to, &order(json!({})).announced(4 << 20))?;
    }
    // Neither loopback without a certificate nor the server above.
    let stranger = To::gateway(server, &Identity::random(Keys::P256)?)?;
    for id in ALL {
        walk.gateway.expect_all(403, id, &stranger, &form("x=y"))?;
    }
    Ok(())
}

/// From another address than loopback. Gives whether this machine has one.
pub fn from_elsewhere(walk: &Walk, world: &World) -> Result<bool> {
    let Some(to) = To::by_own_address(&world.strict.root)? else { return Ok(false) };
    for id in ALL {
        walk.gateway.expect_all(401, id, &to, &form("x=y"))?;
    }
    Ok(true)
}

/// Bodies that do not come, and too many runs at a time.
pub fn slow(walk: &Walk, server: &Server) -> Result<()> {
    thread::scope(|scope| {
        let mut all = Vec::new();
        for (document, to) in [(&walk.local, To::local(server)), (&walk.gateway, To::anonymous(server)?)] {
            for id in ALL.iter().flat_map(|id| document.siblings(id)) {
                let to = to.clone();
                all.push(
                    scope.spawn(move || document.expect(408, &id, &to, &form("").announced(100)).map(drop)),
                );
            }
        }
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a request panicked")?)
    })
}

/// Runs that wait for nodes which do not come. A node has a few at most, the server 64.
pub fn too_many(walk: &Walk, realm: &Realm) -> Result<()> {
    let (server, machines) = (&realm.root, realm.machines(&realm.root, Keys::P256, 5)?);
    let waiting = |machine: &Identity| form(&format!("asynchronous=true&nodes={}", machine.node_id));
    let (local, gateway) = (To::local(server), To::anonymous(server)?);
    let operation = walk.local.operation("runNodes")?;
    let mut statuses = Vec::new();
    for machine in machines.iter().cycle().take(100) {
        statuses.push(waiting(machine).send(operation, &local)?.status);
        if statuses.last() == Some(&503) {
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&503), "{statuses:?}");
    for (document, to) in [(&walk.local, local.clone()), (&walk.gateway, gateway)] {
        for id in FIRST {
            document.expect_all(503, id, &to, &waiting(&machines[0]))?;
        }
        document.expect(503, "run", &to, &order(json!({"nodes": [machines[0].node_id]})))?;
    }
    Ok(())
}

/// What the node hears, and reports.
pub fn triggers(walk: &Walk, world: &World) -> Result<()> {
    let root = &world.realm.root;
    let machine = world.realm.machine(root, Keys::P256)?;
    let (to, gateway) = (To::gateway(root, &machine)?, &walk.gateway);
    let get = |status, ask: &Ask| gateway.expect(status, "getTriggers", &to, ask);
    get(200, &ask())?;
    get(400, &ask().query("have=x"))?;
    replaced(gateway, &to)?;

    let run = asked(&walk.local, root, &machine, || get(200, &ask()).and_then(|reply| reply.json()))?;
    let report = |by: &str, from: u32| {
        ask().path("run", &run).query(format!("by={by}&from={from}")).body("{\"event\":\"started\"}\n")
    };
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    let post = |status, ask: &Ask| gateway.expect(status, "postTrigger", &to, ask);
    post(200, &report(one, 0))?;
    post(409, &report(one, 7))?;
    post(403, &report(other, 0))?;
    post(400, &report(one, 1).body("no event"))?;
    post(404, &ask().path("run", "x").query(format!("by={one}")).body("x"))?;
    let unknown = ask().path("run", "3f333b87-7e3c-4f8d-9a5e-3f1d6ab5a0c7");
    post(410, &unknown.clone().query(format!("by={one}&from=0")).body("{\"event\":\"started\"}\n"))?;
    post(411, &report(one, 1).chunked())?;
    post(413, &report(one, 1).body(vec![b'\n'; 70_000]))?;

    let (nobody, stranger) = (To::anonymous(root)?, To::gateway(root, &Identity::random(Keys::P256)?)?);
    for (id, ask) in [("getTriggers", ask()), ("postTrigger", report(one, 0))] {
        gateway.expect(401, id, &nobody, &ask)?;
        gateway.expect(403, id, &stranger, &ask)?;
    }
    let closed = To::gateway(&world.closed, &world.closed_machine)?;
    gateway.expect(404, "getTriggers", &closed, &ask())?;
    Ok(())
}

/// Of two requests that wait, the later one stays. Each waits for as long as it may take until both are there.
fn replaced(gateway: &Document, to: &To) -> Result<()> {
    thread::scope(|scope| {
        let waiting = ask().header("Prefer", "wait=10");
        let both = [(); 2].map(|()| {
            let waiting = waiting.clone();
            scope.spawn(move || -> Result<u16> {
                let reply = waiting.send(gateway.operation("getTriggers")?, to)?;
                gateway.check("getTriggers", &reply)?;
                Ok(reply.status)
            })
        });
        let mut statuses = Vec::new();
        for one in both {
            statuses.push(one.join().map_err(|_| "a request panicked")??);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        Ok(())
    })
}

/// Asks for a run of this node, in the background, and gives its number when the node has heard of it.
fn asked(
    local: &Document,
    server: &Server,
    machine: &Identity,
    news: impl Fn() -> Result<serde_json::Value>,
) -> Result<String> {
    let form = form(&format!("asynchronous=true&nodes={}", machine.node_id));
    local.expect(200, "runNodes", &To::local(server), &form)?;
    wait::until("the run to be offered", Duration::from_secs(30), || {
        Ok(news()?["runs"][0]["id"].as_str().map(str::to_owned))
    })
}

/// A report that does not come.
pub fn slow_report(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.realm.root, machine)?;
    let unknown = ask().path("run", "3f333b87-7e3c-4f8d-9a5e-3f1d6ab5a0c7").query("by=0123456789abcdef");
    walk.gateway.expect(408, "postTrigger", &to, &unknown.announced(100)).map(drop)
}
