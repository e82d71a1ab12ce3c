// SPDX-License-Identifier: Apache-2.0
//! The questions as requests ask them.

use chrono::Utc;

use super::questions::{self, Filter, Wanted};
use crate::fleet::{Asked, Format, Query, Question, Reply, Trouble, moment};

/// `GET /nodes/{node_id}/inventory`.
pub(crate) fn inventory(mut asked: Asked, node: &str) -> Result<Question, Trouble> {
    let node = node.to_owned();
    let at = asked.query.take("at").map(|text| moment::parse(&text, Utc::now())).transpose()?;
    let wanted = wanted(&mut asked.query)?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        let inventory = questions::inventory(c, &node, at.map(|at| at.timestamp()), &wanted)?;
        Reply::one("getNodeInventory", &inventory, asked.format)
    }))
}

/// `GET /nodes/{node_id}/inventory/changes`.
pub(crate) fn changes(mut asked: Asked, node: &str) -> Result<Question, Trouble> {
    let node = node.to_owned();
    let paging = asked.query.paging()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        let page = questions::changes(c, &node, &paging)?;
        match asked.format {
            Format::Json => Reply::json("getInventoryChanges", &page, page.next.clone()),
            Format::Csv | Format::Text => Err(Trouble::Asked("changes are there as JSON only".into())),
        }
    }))
}

/// `GET /inventories`.
pub(crate) fn list(mut asked: Asked) -> Result<Question, Trouble> {
    let (filter, extent) = (filter(&mut asked.query), asked.extent()?);
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        let page = move |c: &mut _, paging: &_| questions::summaries(c, &filter, paging);
        Reply::list("getInventories", c, extent, asked.format, page)
    }))
}

/// `GET /inventories/export`.
pub(crate) fn export(mut asked: Asked) -> Result<Question, Trouble> {
    let (filter, extent) = (filter(&mut asked.query), asked.query.extent(true)?);
    let wanted = wanted(&mut asked.query)?;
    asked.query.finish()?;
    if asked.format != Format::Json {
        return Err(Trouble::Asked("the export is there as JSON lines only".into()));
    }
    Ok(Box::new(move |c| {
        Reply::lines(c, extent, move |c, paging| questions::lines(c, &filter, &wanted, paging))
    }))
}

fn filter(query: &mut Query) -> Filter {
    Filter { name: query.take("name"), os: query.take("os") }
}

fn wanted(query: &mut Query) -> Result<Wanted, Trouble> {
    Wanted::read(query.take("section").as_deref())
}
