// SPDX-License-Identifier: Apache-2.0
//! The right to run policies or to change them: one process at a time, with everything in order before it starts.

use std::io;
use tracing::warn;

use super::{RunError, orphan};
use crate::{
    settings::Settings,
    state::{Lock, LockError, State},
    update,
};

/// Held while policies run or change. Whoever has it finds no other run under way, and no policies in place that
/// have not passed.
#[derive(Debug)]
pub struct Turn {
    state: State,
    _lock: Lock,
}

impl Turn {
    /// Takes it, and mends what an agent that was killed has left.
    pub async fn take(settings: &Settings) -> Result<Self, RunError> {
        let state = State::open(&settings.paths.state).map_err(RunError::State)?;
        let lock = state.lock_run().map_err(|e| match e {
            LockError::Held(holder) => RunError::InProgress(holder),
            LockError::Io(path, e) => {
                RunError::State(io::Error::new(e.kind(), format!("{}: {e}", path.display())))
            }
        })?;
        if orphan::end(&state, settings.stop_grace).await.map_err(RunError::State)? {
            warn!("the policy command of an agent that was killed still ran; it was ended");
        }
        if let Some(words) = update::recover(&state, &settings.paths).map_err(RunError::Policies)? {
            warn!("{words}");
        }
        Ok(Self { state, _lock: lock })
    }

    /// What is remembered.
    pub fn state(&self) -> &State {
        &self.state
    }
}
