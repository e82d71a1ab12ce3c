// SPDX-License-Identifier: Apache-2.0
//! The node side: runs policies, signs what they report, brings it to the policy server.
//!
//! ```text
//! policy command ─lines─▶ run (capture, frame, sign, gzip) ─file─▶ outbox ─PUT─▶ policy server
//!                                     └▶ show (terminal, JSON)
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`paths`], [`settings`], [`identity`] | where things are, what is configured, who this node is |
//! | [`enrol`], [`roll`] | becoming known to the root, and staying so with another key |
//! | [`inventory`] | what this machine is: collected, signed, sent at night and when it has changed |
//! | [`issued`] | certificates of the root's authority: fetched, renewed, copied to other programs |
//! | [`update`] | policies, from the policy server to the directory in use |
//! | [`run`] | one run of the policy command, up to the file in the outbox |
//! | [`outbox`] | run logs that wait for their upload: the durable queue of this node |
//! | [`server`] | the policy server: where it is, which keys it may have, a connection to it |
//! | [`upload`] | bringing run logs there: order, answers, retries |
//! | [`share`] | files to and from other nodes, and those of the policy server |
//! | [`triggers`] | runs that the policy server asks for |
//! | [`schedule`], [`daemon`] | when to run and when to send again |
//! | [`state`] | what must be remembered from one invocation to the next |
//! | [`show`], [`cli`] | what the operator sees |
//! | [`durable`] | files that are either whole or not there |

pub mod cli;
pub mod daemon;
pub mod durable;
pub mod enrol;
pub mod identity;
pub mod inventory;
pub mod issued;
pub mod outbox;
pub mod paths;
pub mod roll;
pub mod run;
pub mod schedule;
pub mod server;
pub mod service_manager;
pub mod settings;
pub mod share;
pub mod show;
pub mod state;
pub mod triggers;
pub mod update;
pub mod upkeep;
pub mod upload;
