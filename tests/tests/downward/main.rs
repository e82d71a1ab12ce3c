// SPDX-License-Identifier: Apache-2.0
//! What goes down, end to end: real processes, a root and relays.
//!
//! | file | what |
//! |---|---|
//! | `update` | policies reach the agent: published, changed, altered on the way, gone back |
//! | `cache` | relays between root and node: the uplink gone, killed relays, many at once |
//! | `shared` | files for all nodes and from node to node, over relays |
//! | `triggers` | agents that keep a connection, and those that do not |
//! | `remote_run` | runs that operators ask for, over relays |
//! | `proxies` | HTTP proxies between agent, relay and root |
//! | `api_documents` | the documents of the API against the running daemon |
//! | `schemathesis` | requests made from the document |

mod api_documents;
mod cache;
mod proxies;
mod remote_run;
mod schemathesis;
mod shared;
mod triggers;
mod update;
