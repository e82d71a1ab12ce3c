// SPDX-License-Identifier: Apache-2.0
//! In the daemon: waits until an inventory is due, and has it made by a process of its own, so that the memory for
//! it goes back.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use chrono::Local;
use protocol::node_id::NodeId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    schedule::{self, Facts, Memory},
    signs,
};
use crate::{settings::Settings, state::State};

/// Shortest time between two looks at whether something has changed, or is asked for.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Longest time between two.
const LONGEST_LOOK: Duration = Duration::from_secs(300);

/// After one was made: what was noted counts, and if that could not be noted there is no hurry.
const AFTER_SUCCESS: Duration = Duration::from_secs(5);

/// After a process that failed, perhaps before it could note anything.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Has inventories made until `stop`. `run` runs this program with arguments, and
/// says whether it succeeded.
pub async fn keep(
    root: &Path,
    settings: watch::Receiver<Settings>,
    state: &State,
    node_id: &NodeId,
    stop: &CancellationToken,
    run: impl AsyncFn(&'static [&'static str]) -> bool,
) {
    loop {
        let current = settings.borrow().clone();
        let mut pause = current.run_interval.clamp(SHORTEST_LOOK, LONGEST_LOOK);
        if schedule::is_enabled(&current) {
            let (memory, signs) = (Memory::load(state), signs::of(root, &current));
            let is_asked = current.paths.force_inventory.exists();
            let facts = Facts { memory: &memory, is_asked, signs: &signs, initial: current.initial, node_id };
            let (due, _) = schedule::due(facts, Local::now());
            let wait = SystemTime::from(due).duration_since(SystemTime::now()).unwrap_or_default();
            pause = pause.min(wait);
            if wait.is_zero() {
                let done = run(&["inventory", "--due", "--quiet"]).await;
                pause = if done { AFTER_SUCCESS } else { AFTER_FAILURE };
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
