// SPDX-License-Identifier: Apache-2.0
//! `GET /packages` and `GET /updates`.

use std::sync::Arc;

use super::{
    found::{By, Filter, Found, on_nodes, versions},
    updates::{self, Offers},
};
use crate::{
    db::Connection,
    fleet::{Asked, Extent, Format, Paging, Query, Question, Reply, Row, Trouble, node},
};

impl Filter {
    fn read(query: &mut Query) -> Result<Self, Trouble> {
        let conditions = query.take_beginning_with("version");
        let versions = conditions.into_iter().map(|(name, value)| {
            // `version<=1.2` is a member `version<` with a value, `version<1.2` one without.
            let sign_and_version = match (&name["version".len()..], value.as_str()) {
                ("", value) => format!("={value}"),
                (rest, "") => rest.to_owned(),
                (rest, value) => format!("{rest}={value}"),
            };
            // `versions=3` is another name, and no condition.
            if !sign_and_version.starts_with(['<', '>', '=']) {
                return Err(Trouble::Asked(format!("{name:?} is not known here")));
            }
            sign_and_version.parse().map_err(|error| Trouble::Asked(format!("version: {error}")))
        });
        Ok(Self {
            versions: versions.collect::<Result<_, _>>()?,
            name: query.take("name"),
            arch: query.take("arch"),
            kind: query.take("kind"),
            node: query.take("node"),
        })
    }
}

/// `GET /packages`.
pub fn packages(mut asked: Asked) -> Result<Question, Trouble> {
    let filter = Filter::read(&mut asked.query)?;
    let by = match asked.query.take("by").as_deref() {
        None | Some("node") => By::Node,
        Some("version") => By::Version,
        Some(other) => return Err(Trouble::Asked(format!("by: {other:?} is neither node nor version"))),
    };
    let extent = asked.extent()?;
    asked.query.finish()?;
    let format = asked.format;
    if by == By::Node && filter.name.is_none() {
        return Err(Trouble::Asked("name is missing: say which package, or by=version for all".into()));
    }
    Ok(Box::new(move |c| {
        node::must_be_named(c, filter.node.as_deref())?;
        match by {
            By::Node => reply(c, extent, format, move |c, paging| on_nodes(c, &filter, paging)),
            By::Version => reply(c, extent, format, move |c, paging| versions(c, &filter, paging)),
        }
    }))
}

fn reply<T: Row>(
    c: &mut Connection,
    extent: Extent,
    format: Format,
    mut found: impl FnMut(&mut Connection, &Paging) -> Result<Found<T>, Trouble> + Send + 'static,
) -> Result<Reply, Trouble> {
    const ACTION: &str = "getPackages";
    match format {
        Format::Json => {
            let found = found(c, &extent.paging)?;
            Reply::json(ACTION, &found, found.page.next.clone())
        }
        _ => Reply::list(ACTION, c, extent, format, move |c, paging| Ok(found(c, paging)?.page)),
    }
}

/// `GET /updates`.
pub fn updates(mut asked: Asked, offers: &Arc<Offers>) -> Result<Question, Trouble> {
    const ACTION: &str = "getUpdates";
    let query = &mut asked.query;
    let (node, name, kind) = (query.take("node"), query.take("name"), query.take("kind"));
    let filter = updates::Filter { node, name, kind };
    let by_node = match query.take("by").as_deref() {
        None | Some("package") => false,
        Some("node") => true,
        Some(other) => return Err(Trouble::Asked(format!("by: {other:?} is neither package nor node"))),
    };
    let extent = asked.extent()?;
    asked.query.finish()?;
    let (offers, format) = (offers.clone(), asked.format);
    Ok(Box::new(move |c| {
        node::must_be_named(c, filter.node.as_deref())?;
        match by_node {
            true => Reply::list(ACTION, c, extent, format, move |c, paging| {
                updates::outdated(c, &offers, &filter, paging)
            }),
            false => Reply::list(ACTION, c, extent, format, move |c, paging| {
                updates::offered(c, &offers, &filter, paging)
            }),
        }
    }))
}
