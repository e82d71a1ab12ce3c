// SPDX-License-Identifier: Apache-2.0
//! The harness of the system tests, the demonstration and the load generator.
//!
//! Everything here drives the real programs (`relayd`, `agent`, PostgreSQL) as processes with own
//! directories, keys and ports, and stops them when dropped. Nothing sleeps and hopes:
//! [`wait::until`] waits for a condition, with a deadline.
//!
//! | module | what |
//! |---|---|
//! | [`wait`] | conditions with deadlines, interruption by Ctrl-C |
//! | [`programs`], [`process`] | the built programs, and one running |
//! | [`postgres`] | a private PostgreSQL cluster |
//! | [`existing_database`] | the tables of an existing server |
//! | [`identity`], [`fleet`] | keys and certificates; who is below whom |
//! | [`server`] | a root or relay: directories, configuration, process |
//! | [`site`] | a directory with a root and its fleet; spool helpers |
//! | [`realm`] | a site whose root keeps the registry and whose relays learn from above |
//! | [`enrolment`] | newcomers at the door |
//! | [`node`] | a machine with the agent |
//! | [`simulated`] | realistic signed run logs, made in bulk |
//! | [`inventory`] | inventories with their signatures |
//! | [`journal`] | a systemd-journald of its own, and what is in it |
//! | [`client`] | requests over mutually authenticated TLS |
//! | [`sink`] | a policy server that takes everything and keeps only names |
//! | [`proxy`] | delays, cuts, black holes between two parties |
//! | [`tunnels`] | an HTTP proxy on the way |
//! | [`debian`] | a Debian system in a directory, to install packages in and to boot |
//! | [`judge`] | the oracle: claimed, acknowledged, stored → lost, duplicated, forged |

pub mod client;
pub mod debian;
pub mod enrolment;
pub mod existing_database;
pub mod fleet;
pub mod http;
pub mod identity;
pub mod inventory;
pub mod journal;
pub mod judge;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod realm;
pub mod server;
pub mod simulated;
pub mod sink;
pub mod site;
pub mod tunnels;
pub mod wait;

/// What went wrong, for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Results of the harness.
pub type Result<T> = std::result::Result<T, Error>;
