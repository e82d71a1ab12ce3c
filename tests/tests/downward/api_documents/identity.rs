// SPDX-License-Identifier: Apache-2.0
//! Who is who: enrolment, keys, certificates, the node tree, on gateways.

use std::thread;

use bytes::Bytes;
use protocol::{private_key, smime};
use tests::{
    Result,
    enrolment::Newcomer,
    identity::{Identity, Keys},
    realm::Realm,
};

use super::{
    ask::{Ask, To, ask},
    walk::Walk,
    world::World,
};

const PKCS10: &str = "application/pkcs10";
const SIGNED: &str = "multipart/signed";
/// Operations about one node, and the type of their bodies.
const ABOUT_NODE: [(&str, &str); 3] =
    [("putEnrolment", PKCS10), ("putKey", SIGNED), ("putCertificate", PKCS10)];

fn of(node: &Identity, content_type: &str) -> Ask {
    ask().path("node_id", &node.node_id).header("Content-Type", content_type)
}

fn request(node: &Identity) -> Result<Bytes> {
    Newcomer::new(node, "machine.example.com").request()
}

/// The answers of a server that decides itself.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    let (gateway, root) = (&walk.gateway, &world.realm.root);
    let machine = world.realm.machine(root, Keys::P256)?;
    let as_machine = To::gateway(root, &machine)?;
    let (nobody, stranger) = (To::anonymous(root)?, To::gateway(root, &Identity::random(Keys::P256)?)?);

    gateway.expect_all(200, "getUuid", &nobody, &ask())?;
    for id in ["getIdentity", "getNodes"] {
        gateway.expect_all(200, id, &as_machine, &ask())?;
        gateway.expect_all(401, id, &nobody, &ask())?;
        gateway.expect_all(403, id, &stranger, &ask())?;
    }
    let nodes = gateway.expect(200, "getNodes", &as_machine, &ask().query("changes"))?;
    let known = ask().header("If-None-Match", nodes.header("ETag"));
    gateway.expect(304, "getNodes", &as_machine, &known)?;

    enrolments(walk, &world.realm, &nobody)?;
    keys(walk, &world.realm, &machine, &as_machine)?;

    let certificate = of(&machine, PKCS10).body(request(&machine)?);
    // The key of the machine was changed just now.
    gateway.expect(400, "putCertificate", &as_machine, &certificate)?;
    let other = world.realm.machine(root, Keys::P256)?;
    let as_other = To::gateway(root, &other)?;
    let certificate = of(&other, PKCS10).body(request(&other)?);
    gateway.expect(404, "putCertificate", &as_other, &certificate)?;
    world.realm.operator(&["ca", "init"])?;
    gateway.expect(200, "putCertificate", &as_other, &certificate)?;

    for (id, content_type) in ABOUT_NODE {
        let to = if id == "putEnrolment" { &nobody } else { &as_other };
        let about = of(&other, content_type);
        gateway.expect(400, id, to, &about.clone().body("nothing of the kind"))?;
        gateway.expect(411, id, to, &about.clone().body("x").chunked())?;
        gateway.expect(413, id, to, &about.clone().announced(1 << 20))?;
        gateway.expect(508, id, to, &about.clone().header("Relayd-Hops", 21))?;
        if id != "putEnrolment" {
            gateway.expect(401, id, &nobody, &about)?;
            gateway.expect(403, id, &stranger, &about)?;
        }
    }
    Ok(())
}

fn enrolments(walk: &Walk, realm: &Realm, nobody: &To) -> Result<()> {
    let newcomer = Identity::random(Keys::P256)?;
    let about = of(&newcomer, PKCS10);
    let asking = about.clone().body(request(&newcomer)?);
    let expect = |status, ask: &Ask| walk.gateway.expect(status, "putEnrolment", nobody, ask);
    expect(202, &asking)?;
    let impostor = Identity::new(newcomer.node_id.clone(), Keys::P256)?;
    expect(409, &about.clone().body(request(&impostor)?))?;
    realm.operator(&["node", "reject", newcomer.node_id.as_str()])?;
    expect(403, &asking)?;
    realm.operator(&["node", "accept", newcomer.node_id.as_str()])?;
    expect(200, &asking)?;
    Ok(())
}

fn keys(walk: &Walk, realm: &Realm, machine: &Identity, to: &To) -> Result<()> {
    let signed = |new: &Identity| -> Result<Ask> {
        Ok(of(machine, SIGNED).body(smime::sign(&request(new)?, &machine.certificate, &machine.key)?))
    };
    let renamed = |of: Identity| -> Result<Identity> {
        let certificate = private_key::self_signed(&of.key, &machine.node_id)?;
        Ok(Identity { node_id: machine.node_id.clone(), certificate, ..of })
    };
    let of_another = realm.machine(&realm.root, Keys::P256)?;
    walk.gateway.expect(409, "putKey", to, &signed(&renamed(of_another)?)?)?;
    walk.gateway.expect(200, "putKey", to, &signed(&renamed(Identity::random(Keys::P256)?)?)?)?;
    // The first key was replaced, and cannot announce another one.
    walk.gateway.expect(403, "putKey", to, &signed(&renamed(Identity::random(Keys::P256)?)?)?)?;
    Ok(())
}

/// Bodies that do not come, all at a time.
pub fn slow(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.realm.root, machine)?;
    thread::scope(|scope| {
        let all = ABOUT_NODE.map(|(id, content_type)| {
            let (to, about) = (&to, of(machine, content_type).announced(1000));
            scope.spawn(move || walk.gateway.expect(408, id, to, &about).map(drop))
        });
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a request panicked")?)
    })
}

/// Too many requests.
pub fn often(walk: &Walk, world: &World) -> Result<()> {
    let strict = &world.strict.root;
    let machine = world.strict.machine(strict, Keys::P256)?;
    let to = To::gateway(strict, &machine)?;
    let asking = of(&machine, PKCS10).body("x");
    let enrolment = walk.gateway.operation("putEnrolment")?;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 10 {
        let reply = asking.send(enrolment, &To::anonymous(strict)?)?;
        walk.gateway.check("putEnrolment", &reply)?;
        statuses.push(reply.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    for id in ["putKey", "putCertificate"] {
        let content_type = if id == "putKey" { SIGNED } else { PKCS10 };
        let about = of(&machine, content_type).body("x");
        // Both count together, 60 a minute.
        let mut sent = 0;
        loop {
            let reply = about.send(walk.gateway.operation(id)?, &to)?;
            walk.gateway.check(id, &reply)?;
            match reply.status {
                429 => break,
                // While this goes on, one a second comes back.
                400 if sent < 300 => sent += 1,
                other => return Err(format!("{id}: {other} after {sent} requests").into()),
            }
        }
    }
    // Four that wait are enough. They wait for as long as it may take until all six are there.
    let version = walk.gateway.expect(200, "getNodes", &to, &ask())?.header("ETag").to_owned();
    let waiting = ask().header("If-None-Match", &version).header("Prefer", "wait=10");
    thread::scope(|scope| {
        let all: Vec<_> =
            (0..6).map(|_| scope.spawn(|| waiting.send(walk.gateway.operation("getNodes")?, &to))).collect();
        let mut refused = 0;
        for one in all {
            let reply = one.join().map_err(|_| "a request panicked")??;
            walk.gateway.check("getNodes", &reply)?;
            refused += usize::from(reply.status == 429);
        }
        assert_eq!(refused, 2);
        Ok(())
    })
}

/// Where another program says which nodes there are.
pub fn closed(walk: &Walk, world: &World) -> Result<()> {
    let to = To::gateway(&world.closed, &world.closed_machine)?;
    for (id, content_type) in ABOUT_NODE {
        walk.gateway.expect(404, id, &to, &of(&world.closed_machine, content_type).body("x"))?;
    }
    Ok(())
}

/// At a relay whose root is gone.
pub fn cut_off(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.relay, machine)?;
    let asking = of(machine, PKCS10).body(request(machine)?);
    walk.gateway.expect(503, "putEnrolment", &to, &asking)?;
    walk.gateway.expect(503, "putCertificate", &to, &asking)?;
    let signed = smime::sign(&request(machine)?, &machine.certificate, &machine.key)?;
    walk.gateway.expect(503, "putKey", &to, &of(machine, SIGNED).body(signed))?;
    Ok(())
}

/// Where an authority says who clients are.
pub fn by_authority(walk: &Walk, world: &World) -> Result<()> {
    let server = &world.certified;
    walk.gateway.expect_all(401, "getUuid", &To::anonymous(server)?, &ask())?;
    let stranger = Identity::random(Keys::P256)?;
    walk.gateway.expect_all(403, "getUuid", &To::gateway(server, &stranger)?, &ask())?;
    Ok(())
}
