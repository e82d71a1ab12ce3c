// SPDX-License-Identifier: Apache-2.0
//! A relay and the server above it, over real TLS: the node tree, and requests that are passed up.

mod follower;
mod following;
mod gateways;
mod passing;
mod upstream;
