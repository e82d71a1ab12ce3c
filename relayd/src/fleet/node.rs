// SPDX-License-Identifier: Apache-2.0
//! `/nodes/{node}`: a node, how it is by rule, and its last runs.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Settings, Trouble,
    nodes::{self, Node},
    parts::{self, By, Part},
    runs::{self, Run},
    sets::ResultFilter,
    state::Moment,
};
use crate::db::Connection;

/// A node.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeAnswer {
    /// The node, and how it is.
    #[serde(flatten)]
    pub node: Node,
    /// How it is by rule; no more than 1000 rules.
    pub rules: Vec<Part>,
    /// Its last runs, the newest first; no more than 10.
    pub runs: Vec<Run>,
}

const RULES: usize = 1000;
const RUNS: usize = 10;

/// All about a node, by its id.
pub fn node(c: &mut Connection, settings: &Settings, id: &str) -> Result<NodeAnswer, Trouble> {
    let only = nodes::Filter { id: Some(id.to_owned()), ..nodes::Filter::default() };
    let one = Paging { after: None, limit: 1 };
    let node = nodes::nodes(c, settings, &only, &one)?.items.pop().ok_or(Trouble::Nothing)?;
    let ask = parts::Ask {
        moment: Moment::now(settings),
        by: By::Rule,
        node: Some(id.to_owned()),
        filter: ResultFilter::default(),
        wanted: None,
    };
    let Page { items: rules, .. } = parts::parts(c, &ask, &Paging { after: None, limit: RULES })?;
    let filter = runs::Filter { node: Some(id.to_owned()), ..runs::Filter::default() };
    let Page { items: runs, .. } = runs::runs(c, &filter, &Paging { after: None, limit: RUNS })?;
    Ok(NodeAnswer { node, rules, runs })
}
