// SPDX-License-Identifier: Apache-2.0
//! What operators ask, on real spools, databases and daemons.
//!
//! | file | what |
//! |---|---|
//! | `spool_command` | `relayd spool` |
//! | `status` | `relayd status` and the members of `system/status` |
//! | `why` | `relayd why`: each cause is injected, and must be named first |
//! | `why_not` | what `relayd why` must not name as the cause |
//! | `doctor` | `relayd doctor`: each fault of an installation is injected |
//! | `credentials` | commands where the credentials of the daemon are not |
//! | `site` | a server in a directory, and its daemon |
#![allow(missing_docs, reason = "tests")]

#[path = "../common/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod cluster;
#[path = "../support/mod.rs"]
mod support;

mod credentials;
mod doctor;
mod site;
mod spool_command;
mod status;
mod why;
mod why_not;
