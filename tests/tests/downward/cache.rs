// SPDX-License-Identifier: Apache-2.0
//! Relays between root and node: the uplink gone, killed relays, many at once.
