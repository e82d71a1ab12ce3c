// SPDX-License-Identifier: Apache-2.0
//! `/nodes/{node}`: a node, how it is by rule, and its last runs.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Binary, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Settings, Trouble,
    conditions::Conditions,
    moment::show,
    nodes::{self, Node},
    parts::{self, By, Part},
    runs::{self, Run},
    sets::ResultFilter,
    state::Moment,
};
use crate::db::{Connection, query::Value};

/// A node.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeAnswer {
    /// The node, and how it is.
    #[serde(flatten)]
    pub node: Node,
    /// Its inventory, where one is stored.
    pub inventory: Option<InventoryBrief>,
    /// How it is by rule; no more than 1000 rules.
    pub rules: Vec<Part>,
    /// Its last runs, the newest first; no more than 10.
    pub runs: Vec<Run>,
}

/// Which inventory is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InventoryBrief {
    /// When it was made.
    pub made: String,
    /// When it came.
    pub received: String,
    /// SHA-256 of the document, hexadecimal.
    pub digest: String,
    /// The operating system.
    pub os: String,
}

#[derive(QueryableByName)]
struct InventoryRow {
    #[diesel(sql_type = BigInt)]
    made: i64,
    #[diesel(sql_type = BigInt)]
    received: i64,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = Text)]
    os_full_name: String,
}

fn inventory(c: &mut Connection, id: &str) -> Result<Option<InventoryBrief>, Trouble> {
    let sql = "SELECT made, received, digest, os_full_name FROM inventory WHERE nodeid = $1";
    let row: Option<InventoryRow> = c.row(sql, &[Value::Text(id)])?;
    Ok(row.map(|row| InventoryBrief {
        made: show(row.made),
        received: show(row.received),
        digest: hex::encode(row.digest),
        os: row.os_full_name,
    }))
}

/// An error where the node that a question names is none: who mistypes it must not be told that nothing is wrong.
pub fn must_be_known(c: &mut Connection, id: Option<&str>) -> Result<(), Trouble> {
    match id {
        Some(id) if !is_known(c, id)? => Err(unknown(id)),
        _ => Ok(()),
    }
}

/// The same for questions about inventories, where host names are names as well.
pub fn must_be_named(c: &mut Connection, node: Option<&str>) -> Result<(), Trouble> {
    match node {
        Some(node) if !is_known(c, node)? && !has_inventory(c, node)? => Err(unknown(node)),
        _ => Ok(()),
    }
}

fn unknown(node: &str) -> Trouble {
    Trouble::Missing(format!("no node {node:?} is known"))
}

fn is_known(c: &mut Connection, id: &str) -> QueryResult<bool> {
    Ok(c.number("SELECT count(*) AS number FROM node WHERE nodeid = $1", &[Value::Text(id)])? > 0)
}

/// Whether there is an inventory of this id or host name.
pub fn has_inventory(c: &mut Connection, node: &str) -> QueryResult<bool> {
    let mut which = Conditions::default();
    which.inventories_of(Some(node));
    let sql = format!("SELECT count(*) AS number FROM inventory WHERE {}", which.sql());
    Ok(c.number(&sql, &which.values())? > 0)
}

const RULES: usize = 1000;
const RUNS: usize = 10;

/// All about a node, by its id.
pub fn node(c: &mut Connection, settings: &Settings, id: &str) -> Result<NodeAnswer, Trouble> {
    let only = nodes::Filter { id: Some(id.to_owned()), ..nodes::Filter::default() };
    let one = Paging { after: None, limit: 1 };
    let node = nodes::nodes(c, settings, &only, &one)?.items.pop();
    let node = node.ok_or_else(|| unknown(id))?;
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
    Ok(NodeAnswer { inventory: inventory(c, id)?, node, rules, runs })
}
