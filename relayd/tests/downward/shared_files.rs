// SPDX-License-Identifier: Apache-2.0
//! Files from node to node.
