// SPDX-License-Identifier: Apache-2.0
//! Many at once: who is not concerned by a revocation does not notice it.

use std::time::{Duration, Instant};

use tests::{
    Result,
    client::{Connection, anonymous_connector, blocking},
    identity::{Identity, Keys},
    realm::Realm,
    site::Site,
};
use tokio::time::sleep;

/// Machines with an open connection each, and how many of them are revoked.
const CONNECTED: usize = 2_000;
const REVOKED: usize = 200;

/// The registry takes over the list that was there before it, with 2,000 nodes; all of them are connected. Of 200 the
/// connections are closed; all others answer on the ones that they have, and nobody shakes hands again.
#[test]
fn revoking_some_of_many_connected_nodes_costs_the_others_nothing() -> Result<()> {
    let mut site = Site::new()?;
    let machines = Identity::many(CONNECTED, Keys::P256)?;
    let root_id = site.root_id().clone();
    machines.iter().for_each(|machine| site.fleet().add(machine, &root_id));
    let fleet = site.fleet().clone();
    let database = site.sqlite();
    let mut realm = Realm::on(site, database)?;
    realm.root.publish(&fleet)?;
    realm.root.set("gateway.idle_timeout", "\"10min\"");
    realm.root.start()?;
    let (address, pin) = (realm.root.gateway(), realm.root.key_hash().clone());
    blocking(async {
        let mut open = Vec::with_capacity(machines.len());
        let connector = anonymous_connector(&pin)?;
        for machine in &machines {
            let mut connection = Connection::open_as(address, &connector, Some(machine)).await?;
            assert_eq!(connection.get("/identity").await?.status, 200);
            open.push(connection);
        }
        let handshakes = || realm.root.metric("relayd_gateway_tls_handshakes_total");
        let before = handshakes()?;
        assert!(before >= Some(CONNECTED as f64), "{before:?}");
        // Spread over all of them.
        let is_revoked = |number: usize| number.is_multiple_of(CONNECTED / REVOKED);
        let revoked = machines.iter().enumerate().filter(|(number, _)| is_revoked(*number));
        let ids = revoked.map(|(_, machine)| machine.node_id.as_str());
        let asked = Instant::now();
        realm.operator(&["node", "revoke"].into_iter().chain(ids).collect::<Vec<_>>())?;
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
        // The last of them was decided just before the command ended.
        let begun = Instant::now();
        for (number, connection) in open.iter_mut().enumerate() {
            if is_revoked(number) {
                while !connection.is_closed() {
                    assert!(begun.elapsed() < Duration::from_secs(5), "{number} is still open");
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
        let took = begun.elapsed();
        for (number, connection) in open.iter_mut().enumerate() {
            if !is_revoked(number) {
                assert!(!connection.is_closed(), "{number} was closed");
                assert_eq!(connection.get("/identity").await?.status, 200, "{number}");
            }
        }
        assert_eq!(handshakes()?, before);
        let closed = realm.root.metric("relayd_gateway_revoked_connections_total")?;
        assert_eq!(closed, Some(REVOKED as f64));
        eprintln!("{REVOKED} of {CONNECTED} connections were closed after {} ms", took.as_millis());
        Ok(())
    })
}
