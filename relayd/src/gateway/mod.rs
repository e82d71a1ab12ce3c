// SPDX-License-Identifier: Apache-2.0
//! The HTTPS listener for nodes and relays.
