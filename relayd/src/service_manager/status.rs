// SPDX-License-Identifier: Apache-2.0
//! The line that `systemctl status` shows: what waits, and whether it can leave.

use std::{fmt::Write, sync::Arc};

use protocol::{node_id::NodeId, urls::UploadKind};

use crate::spool::{self, metrics::GateState};

/// What is wrong with the connection to the server above, if anything is; must not block.
pub type Uplink = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Where the line comes from.
pub struct StatusLine {
    node_id: NodeId,
    spools: Vec<spool::Status>,
    has_uplink: bool,
    uplinks: Vec<Uplink>,
}

impl StatusLine {
    /// `has_uplink` says where the spools lead: to the server above, or else into the database.
    pub fn new(node_id: NodeId, has_uplink: bool) -> Self {
        Self { node_id, spools: Vec::new(), has_uplink, uplinks: Vec::new() }
    }

    /// Adds a spool.
    pub fn spool(&mut self, spool: spool::Status) {
        self.spools.push(spool);
    }

    /// Adds somebody who talks to the server above.
    pub fn uplink(&mut self, uplink: Uplink) {
        self.uplinks.push(uplink);
    }

    /// The line as of now.
    pub fn text(&self) -> String {
        let mut text = format!("{}: ", self.node_id);
        let run_logs = self.depth(&[UploadKind::RunLog]);
        let inventories = self.depth(&[UploadKind::NewInventory, UploadKind::InventoryUpdate]);
        let counts = [(run_logs, "run logs"), (inventories, "inventories")];
        let counts: Vec<_> =
            counts.iter().filter_map(|(count, what)| Some(format!("{} {what}", (*count)?))).collect();
        match counts.is_empty() {
            true => text += "no spools",
            // Writing to a String cannot fail.
            false => drop(write!(text, "{} waiting", counts.join(" and "))),
        }
        let outlet = if self.has_uplink { "uplink" } else { "database" };
        if self.has_uplink || !self.spools.is_empty() {
            match self.trouble() {
                None => drop(write!(text, "; {outlet} up")),
                Some(why) => drop(write!(text, "; {outlet} down: {}", super::one_line(&why))),
            }
        }
        text
    }

    fn depth(&self, kinds: &[UploadKind]) -> Option<u64> {
        let spools = self.spools.iter().filter(|spool| kinds.contains(&spool.kind()));
        spools.map(spool::Status::depth).reduce(|a, b| a + b)
    }

    fn trouble(&self) -> Option<String> {
        let closed = self.spools.iter().find_map(|spool| match spool.gate() {
            GateState::Open => None,
            GateState::Closed { why, .. } => Some(why),
        });
        closed.or_else(|| self.uplinks.iter().find_map(|uplink| uplink()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_there_is() {
        let mut line = StatusLine::new(NodeId::root(), false);
        assert_eq!(line.text(), "root: no spools");
        line = StatusLine::new(NodeId::root(), true);
        assert_eq!(line.text(), "root: no spools; uplink up");
        line.uplink(Arc::new(|| Some("refused\nat once".to_owned())));
        assert_eq!(line.text(), "root: no spools; uplink down: refused; at once");
    }
}
