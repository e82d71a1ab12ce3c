// SPDX-License-Identifier: Apache-2.0
//! The policy server as this node sees it: where it is, how it is known, one connection to it.
//!
//! | file | what |
//! |---|---|
//! | [`target`] | address, proxy, trust and identity, resolved for one attempt |
//! | [`tcp`] | the way there, straight or through a proxy |
//! | [`connection`], [`progress`] | one kept-alive HTTPS connection and its time-outs |
//! | [`download`] | an answer whose body streams |
//! | [`session`] | several requests over one kept-alive connection |
//! | [`exchange`] | one request over a connection of its own |
//! | [`whoami`] | whether it knows this node |
//! | [`trust`] | which keys the policy server may have |
//! | [`succession`] | how that set changes: keys announced by the server, keys signed by its last one |
//! | [`pin_memory`] | what of that is remembered |
//!
//! Invariant: no request leaves before the server was found to be the right one.

pub mod connection;
pub mod download;
pub mod exchange;
pub mod pin_memory;
pub mod progress;
pub mod session;
pub mod succession;
pub mod target;
pub mod tcp;
pub mod trust;
pub mod whoami;
