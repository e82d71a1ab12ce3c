// SPDX-License-Identifier: Apache-2.0
//! Upload paths on a policy server (protocol 2.3, 6.2).

/// What an upload is, by the directory in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadKind {
    /// `/reports/`: a run log.
    RunLog,
    /// `/inventories/`: the inventory of a node that is not accepted yet.
    NewInventory,
    /// `/inventory-updates/`: the inventory of an accepted node.
    InventoryUpdate,
}

impl UploadKind {
    /// First segment of the path.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::RunLog => "reports",
            Self::NewInventory => "inventories",
            Self::InventoryUpdate => "inventory-updates",
        }
    }

    /// Path to upload a file with this (already checked) name to. Names need no escaping but for
    /// characters that URLs reserve.
    pub fn path(self, file_name: &str) -> String {
        let _ = file_name;
        todo!()
    }
}
