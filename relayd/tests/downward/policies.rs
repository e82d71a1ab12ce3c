// SPDX-License-Identifier: Apache-2.0
//! Trees of nodes, archives, manifests.
