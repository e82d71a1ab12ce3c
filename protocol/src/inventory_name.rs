// SPDX-License-Identifier: Apache-2.0
//! Names of inventory files (protocol 6.1, 6.4).

/// The checked name of an inventory file or its signature: safe as one part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InventoryName(Box<str>);
