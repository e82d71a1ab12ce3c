// SPDX-License-Identifier: Apache-2.0
//! Policies, on both listeners.

use std::fs;

use protocol::node_id::NodeId;
use tests::{
    Result,
    identity::{Identity, Keys},
    server::Server,
};

use super::{
    ask::{Ask, To, ask},
    document::Document,
    walk::Walk,
    world::World,
};

/// Policies of a node, and what is common to all, as another program leaves them.
pub fn prepare(server: &Server, node: &NodeId) -> Result<()> {
    let directory = server.directory().join("policies");
    for (path, content) in [
        (format!("{node}/rules/cfengine-community/promises.cf"), "body common control {}\n"),
        ("common/policies-library-linux.tar.bz2".to_owned(), "an archive"),
    ] {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(path, content)?;
    }
    Ok(())
}

/// Policies at a root.
pub fn walk(walk: &Walk, world: &World) -> Result<()> {
    let root = &world.realm.root;
    let machine = world.realm.machine(root, Keys::P256)?;
    prepare(root, &machine.node_id)?;
    let (local, as_machine) = (To::local(root), To::gateway(root, &machine)?);
    let of_node = ask().path("node_id", &machine.node_id);
    let file = of_node.clone().path("path", "rules/cfengine-community/promises.cf");
    let common = ask().path("path", "policies-library-linux.tar.bz2");
    for (document, to) in [(&walk.local, &local), (&walk.gateway, &as_machine)] {
        answers(document, to, "getPolicies", &of_node, &file)?;
        let manifest = of_node.clone().path("path", "rules.manifest");
        assert_eq!(
            document.expect(200, "getPolicies", to, &manifest)?.json()?["node_id"],
            machine.node_id.as_str()
        );
        document.expect_all(200, "getPolicies", to, &of_node.clone().path("path", "rules.zip"))?;
    }
    answers(&walk.gateway, &as_machine, "getCommonPolicies", &ask(), &common)?;

    let stranger = To::gateway(root, &Identity::random(Keys::P256)?)?;
    for (id, ask) in [("getPolicies", &file), ("getCommonPolicies", &common)] {
        walk.gateway.expect_all(401, id, &To::anonymous(root)?, ask)?;
        walk.gateway.expect_all(403, id, &stranger, ask)?;
    }
    // What is another's is not there.
    let of_root = ask().path("node_id", "root").path("path", "rules.manifest");
    walk.gateway.expect_all(404, "getPolicies", &as_machine, &of_root)?;
    Ok(())
}

fn answers(document: &Document, to: &To, id: &str, of: &Ask, file: &Ask) -> Result<()> {
    let expect = |status, ask: &Ask| document.expect_all(status, id, to, ask);
    let found = expect(200, file)?;
    // HEAD knows no ranges (RFC 9110, 14.2).
    for (status, range) in [(206, "bytes=0-1"), (416, "bytes=1000-")] {
        for id in document.siblings(id).iter().filter(|id| !id.contains("Head")) {
            document.expect(status, id, to, &file.clone().header("Range", range))?;
        }
    }
    expect(304, &file.clone().header("If-None-Match", found.header("ETag")))?;
    expect(400, &of.clone().path("path", "a%00b"))?;
    expect(404, &of.clone().path("path", "nothing"))?;
    expect(412, &file.clone().header("If-Match", "\"other\""))?;
    Ok(())
}

/// At a relay whose root is gone, of what it never fetched.
pub fn cut_off(walk: &Walk, world: &World, machine: &Identity) -> Result<()> {
    let to = To::gateway(&world.relay, machine)?;
    let of_node = ask().path("node_id", &machine.node_id).path("path", "rules/other");
    walk.gateway.expect_all(503, "getPolicies", &to, &of_node)?;
    walk.gateway.expect_all(503, "getCommonPolicies", &to, &ask().path("path", "other"))?;
    Ok(())
}
