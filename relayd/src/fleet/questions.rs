// SPDX-License-Identifier: Apache-2.0
//! Which function answers which path. A function takes what it knows of the query, leaves the rest to
//! `Query::finish`, and gives back what is to be done with a connection.

use std::sync::Arc;

use super::{Asked, Question, Settings, Trouble, nodes};
use crate::{advisories, packages};

/// What is asked.
pub(super) fn question(asked: Asked, settings: &Arc<Settings>) -> Result<Question, Trouble> {
    let settings = Arc::clone(settings);
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    match *path {
        ["nodes"] => nodes::list(asked, settings),
        ["packages"] => packages::found::question(asked),
        ["vulnerabilities"] => advisories::question::question(asked, settings.advisories.as_ref()),
        _ => Err(Trouble::Nothing),
    }
}
