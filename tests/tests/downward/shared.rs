// SPDX-License-Identifier: Apache-2.0
//! Files for all nodes and from node to node, over relays.
