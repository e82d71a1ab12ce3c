// SPDX-License-Identifier: Apache-2.0
//! Forwarding to the upstream policy server.
