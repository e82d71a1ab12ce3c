// SPDX-License-Identifier: Apache-2.0
//! The node tree on its way down: each relay learns from the server above it which nodes are below.
//!
//! ```text
//! node table ─▶ Server ──GET /nodes, long poll──▶ Follower ─▶ node table ─▶ Server ─▶ …
//!                 │                                  │
//!              history of changes                 copy on disk
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`server`] | answers relays: nothing new, what changed, or all |
//! | [`history`](self::history), [`version`] | what changed since a version, for whom |
//! | [`http`] | the request's headers, the answer's headers |
//! | [`follower`] | asks the upstream for ever, publishes what it hears |
//! | [`copy`](self::copy), [`backoff`], [`metrics`] | the copy on disk; pauses; what is counted |
//!
//! Always true: a client hears of itself, of `root` and of nodes below it, of no others; and what a
//! follower publishes is a state that its upstream had.

mod backoff;
mod copy;
pub(crate) mod described;
mod follower;
mod history;
mod http;
mod metrics;
mod server;
mod version;

pub use self::{
    follower::{Follower, FollowerError, FollowerStatus},
    http::Ask,
    server::{Server, TreeAnswer},
};
