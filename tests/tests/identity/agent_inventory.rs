// SPDX-License-Identifier: Apache-2.0
//! Inventories of the agent: how a machine introduces itself with one, and sends the next ones once it is known.

use std::{fs, path::Path};

use protocol::{
    compression::{self, Compression},
    inventory,
};
use tests::{
    Result,
    node::Node,
    realm::{Realm, wait_known},
    wait,
};

use crate::{PATIENCE, expect_exit};

/// What the root has kept of this node.
fn received(root: &Path, node: &Node) -> Result<Option<inventory::check::Checked>> {
    let file = root.join(format!("inventories/received/{}.ocs.gz", node.node_id()));
    let Ok(packed) = fs::read(file) else { return Ok(None) };
    let xml = compression::unpack(&packed, Compression::Gzip, 10 << 20)?;
    Ok(Some(inventory::check::content(inventory::read(&xml)?)?))
}

#[test]
fn a_machine_introduces_itself_and_is_known_from_then_on() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.root.set("processing.inventory.output", "\"registry\"");
    realm.root.set("processing.inventory.catchup.frequency", "1");
    realm.root.start()?;
    let mut relay = realm.relay(&realm.root)?;
    relay.stop()?;
    relay.set("gateway.basic_auth_user", "\"rudder\"");
    relay.set("gateway.basic_auth_password", "\"distributed\"");
    relay.set("gateway.basic_auth_initial_password", "\"rudder\"");
    relay.start()?;
    let node = Node::init(&realm.directory().join("node"), &["--key", "p256"])?;
    node.configure(relay.gateway().port(), relay.key_hash(), "0")?;
    let policies = node.root().join("var/rudder/cfengine-community/inputs/rudder.json");
    let of_policies = fs::read_to_string(&policies)?;
    fs::write(&policies, "{\n  \"INITIAL\" : true\n}\n")?;
    for (file, text) in [("hostname", "web-1.example.com\n"), ("os-release", "ID=debian\nVERSION_ID=12\n")] {
        fs::create_dir_all(node.root().join("etc"))?;
        fs::write(node.root().join("etc").join(file), text)?;
    }
    expect_exit(&node.agent(&["inventory"])?, 0);
    let root = realm.root.directory().to_owned();
    let state = || realm.node(node.node_id()).map(|node| node["state"].clone());
    wait::until_true("the inventory to make it pending", PATIENCE, || Ok(state()? == "pending"))
        .map_err(|e| format!("{e}\nroot: {}\nrelay: {}", realm.root.log_end(), relay.log_end()))?;
    let seen = realm.node(node.node_id())?;
    assert_eq!(seen["hostname"], "web-1.example.com", "{seen}");
    assert_eq!(seen["policy_server"], relay.node_id().as_str(), "{seen}");

    realm.operator(&["node", "accept", node.node_id().as_str()])?;
    wait_known(&relay, node.identity())?;
    fs::write(&policies, of_policies)?;
    // Its next one goes through the other door, with nothing but its certificate.
    fs::write(node.root().join("etc/os-release"), "ID=debian\nVERSION_ID=13\n")?;
    expect_exit(&node.agent(&["inventory"])?, 0);
    wait::until_true("the next inventory to be kept", PATIENCE, || {
        let version = received(&root, &node)?.and_then(|checked| checked.content.operating_system?.version);
        Ok(version.as_deref() == Some("13"))
    })
    .map_err(|e| format!("{e}\nroot: {}\nrelay: {}", realm.root.log_end(), relay.log_end()))?;
    assert_eq!(fs::read_dir(root.join("inventories/failed"))?.count(), 0);
    Ok(())
}
