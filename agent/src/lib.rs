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
//! | [`run`] | one run of the policy command, up to the file in the outbox |
//! | [`outbox`] | run logs that wait for their upload: the durable queue of this node |
//! | [`upload`] | the way to the policy server: trust, connection, retries |
//! | [`schedule`], [`daemon`] | when to run and when to send again |
//! | [`state`] | what must be remembered from one invocation to the next |
//! | [`show`], [`cli`] | what the operator sees |
//! | [`durable`] | files that are either whole or not there |

pub mod cli;
pub mod daemon;
pub mod durable;
pub mod identity;
pub mod outbox;
pub mod paths;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod show;
pub mod state;
pub mod upload;
