// SPDX-License-Identifier: Apache-2.0
//! Which function answers which path. Each takes what it knows of the query, leaves the rest to
//! `Query::finish`, and gives back what is to be done with a connection.

use std::sync::Arc;

use chrono::Utc;

use super::{
    Asked, Format, Query, Question, Reply, Settings, Trouble, by_node, changes, failing, moment, node, nodes,
    parts::{self, By},
    run, runs,
    sets::ResultFilter,
    state::Moment,
    summary,
    timeline::{self, Span},
};
use crate::{advisories, db::Connection, inventories, packages};

/// What is asked.
pub(super) fn question(asked: Asked, settings: &Arc<Settings>) -> Result<Question, Trouble> {
    let settings = Arc::clone(settings);
    let path = asked.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match *path {
        ["nodes"] => nodes::list(asked, settings),
        ["nodes", node] => one_node(asked, settings, node),
        ["compliance"] => compliance(asked, settings),
        ["compliance", "failing"] => failing(asked, &settings),
        ["compliance", "nodes", node, "timeline"] => timeline(asked, settings, node),
        ["changes"] => changes(asked, &settings),
        ["runs"] => runs(asked),
        ["runs", node, start] => run(asked, node, start),
        ["packages"] => packages::questions::packages(asked),
        ["updates"] => packages::questions::updates(asked, &settings.offers),
        ["vulnerabilities"] => advisories::question::question(asked, settings.advisories.as_ref()),
        ["nodes", node, "inventory"] => inventories::ask::inventory(asked, node),
        ["nodes", node, "inventory", "changes"] => inventories::ask::changes(asked, node),
        ["inventories"] => inventories::ask::list(asked),
        ["inventories", "export"] => inventories::ask::export(asked),
        _ => Err(Trouble::Nothing),
    }
}

fn one_node(asked: Asked, settings: Arc<Settings>, id: &str) -> Result<Question, Trouble> {
    let id = id.to_owned();
    asked.query.finish()?;
    Ok(Box::new(move |c| Reply::one("getNode", &node::node(c, &settings, &id)?, asked.format)))
}

impl ResultFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            rule: query.take("rule"),
            directive: query.take("directive"),
            policy: query.take("policy"),
            component: query.take("component"),
        }
    }
}

/// An error where something that a question names is not known: nobody may take its answer for "all is well".
fn must_be_known(
    c: &mut Connection,
    moment: &Moment,
    node: Option<&str>,
    filter: &ResultFilter,
) -> Result<(), Trouble> {
    node::must_be_known(c, node)?;
    filter.must_be_known(c)?;
    moment.must_be_known(c)
}

fn compliance(mut asked: Asked, settings: Arc<Settings>) -> Result<Question, Trouble> {
    const ACTION: &str = "getCompliance";
    let query = &mut asked.query;
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let moment = Moment::read(query, "at", &settings)?;
    let by = match query.take("by").as_deref() {
        None => {
            asked.query.finish()?;
            return Ok(Box::new(move |c| {
                must_be_known(c, &moment, node.as_deref(), &filter)?;
                let summary = summary::summary(c, &settings, &moment, node.as_deref(), &filter)?;
                Reply::one(ACTION, &summary, asked.format)
            }));
        }
        Some("node") => None,
        Some("rule") => Some(By::Rule),
        Some("directive") => Some(By::Directive),
        Some("component") => Some(By::Component),
        Some(other) => {
            return Err(Trouble::Asked(format!("by: {other:?} is not node, rule, directive or component")));
        }
    };
    let (wanted, extent) = (query.parse("status")?, asked.extent()?);
    asked.query.finish()?;
    let format = asked.format;
    Ok(Box::new(move |c| {
        must_be_known(c, &moment, node.as_deref(), &filter)?;
        match by {
            None => {
                let ask = by_node::Ask { moment, node, filter, wanted };
                Reply::list(ACTION, c, extent, format, move |c, paging| by_node::nodes(c, &ask, paging))
            }
            Some(by) => {
                let ask = parts::Ask { moment, by, node, filter, wanted };
                Reply::list(ACTION, c, extent, format, move |c, paging| parts::parts(c, &ask, paging))
            }
        }
    }))
}

fn failing(mut asked: Asked, settings: &Settings) -> Result<Question, Trouble> {
    let query = &mut asked.query;
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let moment = Moment::read(query, "at", settings)?;
    let (wanted, extent) = (query.parse("status")?, asked.extent()?);
    asked.query.finish()?;
    let ask = by_node::Ask { moment, node, filter, wanted };
    Ok(Box::new(move |c| {
        must_be_known(c, &ask.moment, ask.node.as_deref(), &ask.filter)?;
        let page = move |c: &mut _, paging: &_| failing::failing(c, &ask, paging);
        Reply::list("getFailing", c, extent, asked.format, page)
    }))
}

/// An instant in Unix seconds.
fn unix(query: &mut Query, name: &str) -> Result<Option<i64>, Trouble> {
    let text = query.take(name);
    Ok(text.map(|text| moment::parse(&text, Utc::now())).transpose()?.map(|at| at.timestamp()))
}

fn timeline(mut asked: Asked, settings: Arc<Settings>, node: &str) -> Result<Question, Trouble> {
    let node = node.to_owned();
    let span = Span { from: unix(&mut asked.query, "from")?, to: unix(&mut asked.query, "to")? };
    moment::must_be_in_order(span.from, span.to)?;
    let extent = asked.extent()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        node::must_be_known(c, Some(&node))?;
        let now = Utc::now().timestamp();
        let page = move |c: &mut _, paging: &_| timeline::timeline(c, &settings, now, &node, span, paging);
        Reply::list("getTimeline", c, extent, asked.format, page)
    }))
}

fn changes(mut asked: Asked, settings: &Settings) -> Result<Question, Trouble> {
    const ACTION: &str = "getChanges";
    let query = &mut asked.query;
    let from = Moment::read(query, "from", settings)?;
    if !from.is_past() {
        return Err(Trouble::Asked("from: since when? Say for example from=12h".into()));
    }
    let to = Moment::read(query, "to", settings)?;
    moment::must_be_in_order(Some(from.at.timestamp()), Some(to.at.timestamp()))?;
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let by_component = match query.take("by").as_deref() {
        None | Some("node") => false,
        Some("component") => true,
        Some(other) => return Err(Trouble::Asked(format!("by: {other:?} is not node or component"))),
    };
    let extent = asked.extent()?;
    asked.query.finish()?;
    let (ask, format) = (changes::Ask { from, to, node, filter }, asked.format);
    Ok(Box::new(move |c| {
        node::must_be_known(c, ask.node.as_deref())?;
        ask.filter.must_be_known(c)?;
        match by_component {
            true => Reply::list(ACTION, c, extent, format, move |c, p| changes::by_component(c, &ask, p)),
            false => Reply::list(ACTION, c, extent, format, move |c, p| changes::by_node(c, &ask, p)),
        }
    }))
}

fn runs(mut asked: Asked) -> Result<Question, Trouble> {
    let query = &mut asked.query;
    let filter = runs::Filter {
        node: query.take("node"),
        from: unix(query, "from")?,
        to: unix(query, "to")?,
        config_id: query.take("config_id"),
    };
    moment::must_be_in_order(filter.from, filter.to)?;
    if let runs::Filter { node: None, from: None, config_id: Some(_), .. } = filter {
        // There is no index for it: all days would be read for few runs, or none.
        return Err(Trouble::Asked("config_id: say node or from as well".into()));
    }
    let extent = asked.extent()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        Reply::list("getRuns", c, extent, asked.format, move |c, paging| {
            let runs = runs::runs(c, &filter, paging)?;
            if runs.items.is_empty() {
                // Runs stay for a while when their node is gone.
                node::must_be_known(c, filter.node.as_deref())?;
            }
            Ok(runs)
        })
    }))
}

fn run(mut asked: Asked, node: &str, start: &str) -> Result<Question, Trouble> {
    let node = node.to_owned();
    let start = moment::parse(start, Utc::now())?.timestamp();
    let extent = asked.extent()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| match asked.format {
        Format::Text => Reply::text(c, extent, move |c, paging| run::text(c, &node, start, paging)),
        Format::Json => {
            let run = run::run(c, &node, start, &extent.paging)?;
            Reply::json("getRun", &run, run.next.clone())
        }
        Format::Csv => Reply::table(c, extent, move |c, paging| {
            let run = run::run(c, &node, start, paging)?;
            Ok(super::Page { items: run.reports, next: run.next })
        }),
    }))
}
