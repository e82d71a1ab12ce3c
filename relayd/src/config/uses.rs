// SPDX-License-Identifier: Apache-2.0
//! What a configuration makes this server do, where several settings decide.

use super::{Config, InventoryOutput, NodesSource, RunLogOutput};

impl Config {
    /// Whether this server has a database: run logs, nodes or inventories are kept there.
    pub fn uses_database(&self) -> bool {
        self.run_logs.output == RunLogOutput::Database
            || self.nodes.source == NodesSource::Database
            || self.inventories.output == InventoryOutput::Database
    }
}
