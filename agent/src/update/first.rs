// SPDX-License-Identifier: Apache-2.0
//! The update before a run: whatever comes of it, the run is made, and its log says what went wrong.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Options, Outcome, has_fetched, update};
use crate::{identity::Identity, run::turn::Turn, settings::Settings};

/// Fetches the policies; the settings are then those that came with them. Gives what the run log has to say of it.
pub async fn update_first(
    turn: &Turn,
    root: &Path,
    settings: &mut Settings,
    identity: &Identity,
    stop: &CancellationToken,
) -> Vec<String> {
    let updated = update(turn, root, settings, identity, Options::default(), stop).await;
    if let Ok(done) = &updated {
        done.keys.iter().for_each(|change| info!("{change}"));
    }
    let problem = match updated {
        Ok(done) if done.outcome == Outcome::Updated => match Settings::load(root) {
            Ok((new, _)) => {
                *settings = new;
                return vec![];
            }
            Err(problems) => problems.to_string(),
        },
        Ok(_) => return vec![],
        Err(e) => {
            warn!("the policies were not updated, those that are there are used: {e}");
            // Where policies never came from the server, that it cannot be asked is no news of them.
            if !e.is_refusal() && !has_fetched(turn.state()) {
                return vec![];
            }
            e.to_string()
        }
    };
    let line = problem.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![format!("the policies were not updated: {line}")]
}
