// SPDX-License-Identifier: Apache-2.0
//! `GET /vulnerabilities`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    current::Current,
    report::{self, Filter},
};
use crate::fleet::{Asked, Format, Page, Question, Reply, Row, Trouble, node};

/// What a list has a row for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Each advisory.
    #[default]
    Advisory,
    /// Each node.
    Node,
    /// Each version of a package.
    Package,
    /// Each package with each advisory on each node.
    Finding,
}

/// A page of the report.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Reported<T> {
    /// Why the advisories as they are on disk are not in use; absent when they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// The list.
    #[serde(flatten)]
    page: Page<T>,
}

const ACTION: &str = "getVulnerabilities";
const UNREADABLE: &str =
    "the advisories have not been read, or cannot be: `relayd status` says what is wrong with them";

/// Reads what is asked.
pub fn question(mut asked: Asked, current: Option<&Arc<Current>>) -> Result<Question, Trouble> {
    let query = &mut asked.query;
    let filter = Filter {
        node: query.take("node"),
        severity: query.parse("severity")?,
        advisory: query.take("advisory"),
        package: query.take("package"),
        fixed: query.parse("fixed")?,
    };
    let by = match query.take("by") {
        None => By::default(),
        Some(name) => <By as clap::ValueEnum>::from_str(&name, false).map_err(|_| {
            Trouble::Asked(format!("by: {name:?} is neither advisory nor node, package or finding"))
        })?,
    };
    let paging = query.paging()?;
    asked.query.finish()?;
    let format = asked.format;
    let none =
        || Trouble::Asked("there are no advisories here: processing.inventory.advisories is not set".into());
    let current = current.cloned().ok_or_else(none)?;
    Ok(Box::new(move |c| {
        node::must_be_named(c, filter.node.as_deref())?;
        let matched = current.matched().map_err(|_| Trouble::Unusable(UNREADABLE))?;
        let error = current.error();
        match by {
            By::Advisory => reply(report::by_advisory(c, &matched, &filter, &paging)?, error, format),
            By::Node => reply(report::by_node(c, &matched, &filter, &paging)?, error, format),
            By::Package => reply(report::by_package(c, &matched, &filter, &paging)?, error, format),
            By::Finding => reply(report::findings(c, &matched, &filter, &paging)?, error, format),
        }
    }))
}

fn reply<T: Row>(page: Page<T>, unreadable: Option<String>, format: Format) -> Result<Reply, Trouble> {
    match format {
        Format::Json => {
            let next = page.next.clone();
            Reply::json(ACTION, &Reported { unreadable, page }, next)
        }
        _ => Reply::page(ACTION, &page, format),
    }
}
