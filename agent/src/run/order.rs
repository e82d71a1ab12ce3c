// SPDX-License-Identifier: Apache-2.0
//! What a run is to do beside what is configured.

use std::{ffi::OsString, fmt, sync::Arc};

use protocol::remote_run::Conditions;

use crate::settings::Settings;

/// What a run is to do beside what is configured.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Policy command with its arguments, instead of the configured one.
    pub command: Option<Vec<OsString>>,
    /// What the policies are told.
    pub conditions: Conditions,
    /// Hears each line of output as it comes.
    pub listener: Option<Listener>,
}

/// Hears lines of output, without their ends. It must be quick: the command waits.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Order {
    /// The command to run, as separate arguments: no shell reads any of this.
    pub(super) fn command(&self, settings: &Settings) -> Option<Vec<OsString>> {
        let configured = || Some(settings.policy_command.as_ref()?.iter().map(OsString::from).collect());
        let mut command: Vec<OsString> = self.command.clone().or_else(configured)?;
        if let Some(option) = &settings.condition_argument {
            for condition in self.conditions.iter() {
                command.push(option.into());
                command.push(condition.as_str().into());
            }
        }
        Some(command)
    }
}
