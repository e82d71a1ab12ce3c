// SPDX-License-Identifier: Apache-2.0
//! Inventories climb to the root as they are, and wait there for the server application, or are stored.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use hyper::Method;
use protocol::urls::UploadKind;
use tests::{
    Result,
    client::{Connection, blocking, connector, once},
    http,
    identity::Keys,
    inventory::{self, Inventory},
    realm::Realm,
    site::Site,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(25);

/// Files of a directory with their content, hidden ones aside.
fn content_of(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

#[test]
fn both_kinds_climb_two_relays_unchanged_and_wait_out_an_outage() -> Result<()> {
    let mut site = Site::new()?;
    let upper = site.add_relay(&site.root_id().clone())?;
    let lower = site.add_relay(&upper.node_id)?;
    let machines = site.add_machines(&lower.node_id, 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    let mut upper = site.prepare_relay(&upper, &root, root.gateway().port())?;
    let mut lower = site.prepare_relay(&lower, &upper, upper.gateway().port())?;
    lower.start()?;

    let kinds = [UploadKind::NewInventory, UploadKind::InventoryUpdate];
    let mut sent: [BTreeMap<String, Vec<u8>>; 2] = Default::default();
    for machine in &machines {
        let connector = connector(machine, lower.key_hash())?;
        blocking(async {
            let mut connection = Connection::open(lower.gateway(), &connector).await?;
            for (kind, sent) in kinds.iter().zip(&mut sent) {
                for extension in ["ocs.gz", "ocs.sign"] {
                    let name = format!("{}_2026-01-02T03:04:05+00:00.{extension}", machine.node_id);
                    // Whatever it is: relays do not look into it. Larger than what is held whole.
                    let mut bytes = vec![0x1f, 0x8b, 8];
                    bytes.resize(300_000, 0x5a);
                    bytes.extend(name.as_bytes());
                    let status = connection.put(&kind.path(&name), Bytes::from(bytes.clone())).await?;
                    assert_eq!(status.as_u16(), 201, "{name}");
                    sent.insert(name, bytes);
                }
            }
            Ok(())
        })?;
    }
    // They wait at the first relay, until the others are there.
    assert_eq!(content_of(&lower.directory().join("inventories/incoming"))?, sent[0]);
    upper.start()?;
    root.start()?;
    for (directory, sent) in ["incoming", "accepted-nodes-updates"].iter().zip(&sent) {
        let arrived = root.directory().join("inventories").join(directory);
        wait::until_true(&format!("all {directory} inventories at the root"), PATIENCE, || {
            Ok(content_of(&arrived)? == *sent)
        })
        .map_err(|e| format!("{e}\nlower: {}\nupper: {}", lower.log_end(), upper.log_end()))?;
        for relay in [&lower, &upper] {
            let waiting = relay.directory().join("inventories").join(directory);
            wait::until_true("the relays to let them go", PATIENCE, || Ok(content_of(&waiting)?.is_empty()))?;
        }
    }
    // Each of the two relays passed each of the files on once; the update counts like the new one.
    for relay in [&lower, &upper] {
        wait::until_true("eight files counted", PATIENCE, || {
            Ok(relay.metric("rudder_relayd_inventories_total{status=\"forward_ok\"}")? == Some(8.0))
        })?;
    }
    Ok(())
}

/// With the database, what a machine says is asked for by command and over HTTP; nothing is left in files.
#[test]
fn what_a_machine_says_of_itself_is_stored_and_can_be_asked_for() -> Result<()> {
    let mut realm = Realm::prepare()?;
    realm.root.set("processing.inventory.output", "\"database\"");
    realm.root.set("processing.inventory.catchup.frequency", "1");
    realm.root.start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let connector = connector(&machine, relay.key_hash())?;
    let send = |sent: &Inventory| -> Result<()> {
        for (name, content) in [(&sent.name, &sent.content), (&sent.signature_name, &sent.signature)] {
            let (path, body) = (UploadKind::InventoryUpdate.path(name), Bytes::from(content.clone()));
            let reply = once(relay.gateway(), &connector, Method::PUT, &path, &[], body)?;
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        Ok(())
    };
    let show = |arguments: &[&str]| realm.operator(&[&["inventory"], arguments].concat());
    send(&inventory::of(&machine, "web-1.example.com", relay.node_id().as_str())?)?;
    wait::until_true("the inventory to be stored", PATIENCE, || Ok(show(&["list"])?.contains("1 node")))
        .map_err(|e| format!("{e}\nroot: {}\nrelay: {}", realm.root.log_end(), relay.log_end()))?;
    let id = machine.node_id.as_str();
    let shown: serde_json::Value = serde_json::from_str(&show(&["show", id, "--json"])?)?;
    assert_eq!(shown["sections"]["operating_system"]["fqdn"], "web-1.example.com");

    // The machine gets another name, which another second says.
    let first = shown["made"].clone();
    wait::until_true("an inventory of another second", PATIENCE, || {
        Ok(Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true) != first)
    })?;
    send(&inventory::of(&machine, "web-2.example.com", relay.node_id().as_str())?)?;
    wait::until_true("the change to be stored", PATIENCE, || {
        Ok(show(&["changes", id])?.contains("operating_system.fqdn web-1.example.com -> web-2.example.com"))
    })
    .map_err(|e| format!("{e}\nroot: {}", realm.root.log_end()))?;
    let path = format!(
        "/rudder/relay-api/1/nodes/{id}/inventory?section=rudder&at={}",
        first.as_str().unwrap_or("")
    );
    let reply = http::get(realm.root.api(), &path)?;
    assert!(reply.body.contains("web-1.example.com"), "{}", reply.body);
    let line: serde_json::Value = serde_json::from_str(show(&["export", "--section", "rudder"])?.trim())?;
    assert_eq!(line["hostname"], "web-2.example.com");
    let inventories = realm.root.directory().join("inventories");
    for directory in ["accepted-nodes-updates", "failed"] {
        wait::until_true("no file to be left", PATIENCE, || {
            Ok(content_of(&inventories.join(directory))?.is_empty())
        })?;
    }
    assert!(!inventories.join("received").exists());
    Ok(())
}
