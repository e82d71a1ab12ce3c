// SPDX-License-Identifier: Apache-2.0
//! Whatever happens in whatever order, in the end each relay knows what the root says is below it.

use std::{fs, thread::sleep, time::Duration};

use protocol::node_list::NodeList;
use tests::{
    Result,
    enrolment::Newcomer,
    identity::{Identity, Keys},
    realm::Realm,
    server::Server,
    wait,
};

use crate::PATIENCE;

/// Decisions of the operator, with relays that are killed in between.
const STEPS: usize = 40;

/// A small generator of pseudo-random numbers, so that a failing order can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

fn list_of(server: &Server) -> Result<NodeList> {
    Ok(NodeList::from_json(&fs::read(server.directory().join("nodeslist.json"))?)?)
}

/// A list as text that can be compared.
fn text(list: &NodeList) -> String {
    String::from_utf8_lossy(&list.to_json()).into_owned()
}

/// Waits until a relay's copy is what the root's list has below it.
fn wait_same(root: &Server, relay: &Server, title: &str) -> Result<()> {
    let both = || -> Result<(String, String)> {
        Ok((text(&list_of(root)?.below(relay.node_id())), text(&list_of(relay)?)))
    };
    wait::until_true(title, PATIENCE, || both().map(|(wanted, there)| wanted == there))
        .map_err(|e| format!("{e}\n{:#?}\n{}", both(), relay.log_end()).into())
}

#[test]
fn relays_know_in_the_end_what_the_root_says() -> Result<()> {
    let realm = Realm::start()?;
    let left = realm.relay(&realm.root)?;
    let right = realm.relay(&realm.root)?;
    let lower = realm.relay(&left)?;
    let mut relays = [left, right, lower];
    let machines = Identity::many(12, Keys::P256)?;
    for (number, machine) in machines.iter().enumerate() {
        let at = &relays[number % relays.len()];
        let asked = Newcomer::new(machine, "machine.example.com").ask(at.gateway(), at.key_hash())?;
        assert_eq!(asked.status, 202, "{asked:?}");
    }
    for seed in [7, 4711] {
        let mut dice = Dice(seed);
        for _ in 0..STEPS {
            let machine = machines[dice.roll(machines.len())].node_id.to_string();
            let relay = dice.roll(relays.len());
            // Some of it makes no sense for the state that the node has, and is refused.
            let _ = match dice.roll(8) {
                0..=2 => realm.operator(&["node", "accept", &machine]),
                3 | 4 => realm.operator(&["node", "revoke", &machine]),
                5 => realm.operator(&["node", "move", &machine, "--to", relays[relay].node_id().as_str()]),
                // The lower relay with all that is below it.
                6 => {
                    let (lower, to) = (relays[2].node_id().to_string(), relays[dice.roll(2)].node_id());
                    realm.operator(&["node", "move", &lower, "--to", to.as_str()])
                }
                _ => {
                    relays[relay].kill();
                    sleep(Duration::from_millis(dice.roll(200) as u64));
                    relays[relay].start()?;
                    continue;
                }
            };
        }
        // The lower relay goes on asking the left one, whatever the list says: it has to be below it again.
        let (lower, left) = (relays[2].node_id().to_string(), relays[0].node_id().to_string());
        realm.operator(&["node", "move", &lower, "--to", &left])?;
        for relay in &relays {
            wait_same(
                &realm.root,
                relay,
                &format!("{} to know what the root says (seed {seed})", relay.node_id()),
            )?;
        }
    }
    Ok(())
}
