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
use crate::{advisories, inventories, packages};

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

fn compliance(mut asked: Asked, settings: Arc<Settings>) -> Result<Question, Trouble> {
    const ACTION: &str = "getCompliance";
    let query = &mut asked.query;
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let moment = Moment::read(query, "at", &settings)?;
    let by = match query.take("by").as_deref() {
        None => {
            asked.query.finish()?;
            return Ok(Box::new(move |c| {
                node::must_be_known(c, node.as_deref())?;
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
    let (wanted, paging) = (query.parse("status")?, query.paging()?);
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        node::must_be_known(c, node.as_deref())?;
        match by {
            None => {
                let ask = by_node::Ask { moment, node, filter, wanted };
                Reply::page(ACTION, &by_node::nodes(c, &ask, &paging)?, asked.format)
            }
            Some(by) => {
                let ask = parts::Ask { moment, by, node, filter, wanted };
                Reply::page(ACTION, &parts::parts(c, &ask, &paging)?, asked.format)
            }
        }
    }))
}

fn failing(mut asked: Asked, settings: &Settings) -> Result<Question, Trouble> {
    let query = &mut asked.query;
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let moment = Moment::read(query, "at", settings)?;
    let (wanted, paging) = (query.parse("status")?, query.paging()?);
    asked.query.finish()?;
    let ask = by_node::Ask { moment, node, filter, wanted };
    Ok(Box::new(move |c| {
        node::must_be_known(c, ask.node.as_deref())?;
        Reply::page("getFailing", &failing::failing(c, &ask, &paging)?, asked.format)
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
    let paging = asked.query.paging()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        node::must_be_known(c, Some(&node))?;
        let now = Utc::now().timestamp();
        let page = timeline::timeline(c, &settings, now, &node, span, &paging)?;
        Reply::page("getTimeline", &page, asked.format)
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
    if from.at > to.at {
        return Err(Trouble::Asked("from is later than to".into()));
    }
    let (node, filter) = (query.take("node"), ResultFilter::read(query));
    let by_component = match query.take("by").as_deref() {
        None | Some("node") => false,
        Some("component") => true,
        Some(other) => return Err(Trouble::Asked(format!("by: {other:?} is not node or component"))),
    };
    let paging = query.paging()?;
    asked.query.finish()?;
    let ask = changes::Ask { from, to, node, filter };
    Ok(Box::new(move |c| {
        node::must_be_known(c, ask.node.as_deref())?;
        match by_component {
            true if paging.after.is_some() => {
                Err(Trouble::Asked("after: by component there is one page".into()))
            }
            true => Reply::page(ACTION, &changes::by_component(c, &ask, paging.limit)?, asked.format),
            false => Reply::page(ACTION, &changes::by_node(c, &ask, &paging)?, asked.format),
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
    if let runs::Filter { node: None, from: None, config_id: Some(_), .. } = filter {
        // There is no index for it: all days would be read for few runs, or none.
        return Err(Trouble::Asked("config_id: say node or from as well".into()));
    }
    let paging = query.paging()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        let runs = runs::runs(c, &filter, &paging)?;
        if runs.items.is_empty() {
            // Runs stay for a while when their node is gone.
            node::must_be_known(c, filter.node.as_deref())?;
        }
        Reply::page("getRuns", &runs, asked.format)
    }))
}

fn run(mut asked: Asked, node: &str, start: &str) -> Result<Question, Trouble> {
    let node = node.to_owned();
    let start = moment::parse(start, Utc::now())?.timestamp();
    let paging = asked.query.paging()?;
    asked.query.finish()?;
    Ok(Box::new(move |c| match asked.format {
        Format::Text => run::text(c, &node, start, &paging).map(|(text, next)| Reply::text(text, next)),
        Format::Json => {
            let run = run::run(c, &node, start, &paging)?;
            Reply::json("getRun", &run, run.next.clone())
        }
        Format::Csv => {
            let run = run::run(c, &node, start, &paging)?;
            let page = super::Page { items: run.reports, next: run.next };
            Reply::page("getRun", &page, asked.format)
        }
    }))
}
