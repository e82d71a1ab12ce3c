// SPDX-License-Identifier: Apache-2.0
//! `GET /vulnerabilities`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    current::Current,
    report::{self, Filter},
};
use crate::{
    db::Connection,
    fleet::{Asked, Extent, Format, Page, Paging, Question, Reply, Row, Trouble, node},
};

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
    let extent = asked.extent()?;
    asked.query.finish()?;
    let none =
        || Trouble::Asked("there are no advisories here: processing.inventory.advisories is not set".into());
    let current = current.cloned().ok_or_else(none)?;
    Ok(Box::new(move |c| {
        node::must_be_named(c, filter.node.as_deref())?;
        let matched = current.matched().map_err(|_| Trouble::Unusable(UNREADABLE))?;
        let list = List { unreadable: current.error(), extent, format: asked.format };
        match by {
            By::Advisory => list.of(c, move |c, p| report::by_advisory(c, &matched, &filter, p)),
            By::Node => list.of(c, move |c, p| report::by_node(c, &matched, &filter, p)),
            By::Package => list.of(c, move |c, p| report::by_package(c, &matched, &filter, p)),
            By::Finding => list.of(c, move |c, p| report::findings(c, &matched, &filter, p)),
        }
    }))
}

/// What a list is to look like.
struct List {
    unreadable: Option<String>,
    extent: Extent,
    format: Format,
}

impl List {
    fn of<T: Row>(
        self,
        c: &mut Connection,
        mut page: impl FnMut(&mut Connection, &Paging) -> Result<Page<T>, Trouble> + Send + 'static,
    ) -> Result<Reply, Trouble> {
        let Self { unreadable, extent, format } = self;
        match format {
            Format::Json => {
                let page = page(c, &extent.paging)?;
                let next = page.next.clone();
                Reply::json(ACTION, &Reported { unreadable, page }, next)
            }
            _ => Reply::list(ACTION, c, extent, format, page),
        }
    }
}
