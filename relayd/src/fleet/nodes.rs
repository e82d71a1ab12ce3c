// SPDX-License-Identifier: Apache-2.0
//! `/nodes`: which nodes there are, and how each of them is.

use std::{str::FromStr, sync::Arc};

use chrono::Utc;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Asked, Page, Paging, Query, Question, Reply, Row, Settings, Trouble,
    conditions::Conditions,
    counts::{Counts, OF_SET, percent},
    moment::show,
    state::present,
};
use crate::{db::Connection, registry::record::NodeState};

/// Which nodes.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Which one.
    pub id: Option<String>,
    /// Whose host name is like this: `*` is any text, `?` any character; without case.
    pub name: Option<String>,
    /// What the registry says of them.
    pub state: Option<NodeState>,
    /// The server to which they connect.
    pub relay: Option<String>,
    /// How they are.
    pub status: Option<NodeStatus>,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Its last run is fresh, and all its results are as they should be.
    Compliant,
    /// Its last run is fresh, and some results are not as they should be.
    Failing,
    /// Its last run is too old, or there is none.
    NoAnswer,
}

/// A node, and how it is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Node {
    /// Its id.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// Whether it belongs to the instance: `accepted`, `pending`, `rejected` or `revoked`.
    pub state: String,
    /// `node` or `relay`.
    pub role: String,
    /// The server to which it connects.
    pub policy_server: String,
    /// How it is.
    pub status: NodeStatus,
    /// When it was last heard of.
    pub last_contact: Option<String>,
    /// Start of its latest run.
    pub last_run: Option<String>,
    /// Since when its results are what they are.
    pub since: Option<String>,
    /// Version of the policies of its latest run.
    pub config_id: Option<String>,
    /// Results that are as they should be, of 100.
    pub compliance: Option<f64>,
    /// Results of its latest run.
    pub results: Counts,
}

impl FromStr for NodeStatus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        clap::ValueEnum::from_str(text, false).map_err(|_| "not compliant, failing or no_answer")
    }
}

impl NodeStatus {
    /// How a node with these results is, and what they count as.
    pub fn of(answers: bool, results: Counts) -> (Self, Counts) {
        match (answers, results.failing()) {
            (false, _) => (Self::NoAnswer, results.unanswered()),
            (true, 0) => (Self::Compliant, results),
            (true, _) => (Self::Failing, results),
        }
    }

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Failing => "failing",
            Self::NoAnswer => "no_answer",
        }
    }
}

impl Row for Node {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "state",
        "role",
        "policy_server",
        "status",
        "last_contact",
        "last_run",
        "since",
        "config_id",
        "compliance",
        "success",
        "repaired",
        "error",
        "na",
        "audit_compliant",
        "audit_noncompliant",
        "audit_error",
        "audit_na",
        "no_answer",
    ];

    fn cells(&self) -> Vec<String> {
        let node = self.clone();
        let mut cells = vec![
            node.node_id,
            node.hostname,
            node.state,
            node.role,
            node.policy_server,
            node.status.as_str().into(),
            node.last_contact.unwrap_or_default(),
            node.last_run.unwrap_or_default(),
            node.since.unwrap_or_default(),
            node.config_id.unwrap_or_default(),
            percent(node.compliance),
        ];
        cells.extend(node.results.numbers().map(|number| number.to_string()));
        cells
    }
}

impl Filter {
    fn read(query: &mut Query) -> Result<Self, Trouble> {
        let state = query.take("state").map(|text| {
            NodeState::parse(&text)
                .ok_or_else(|| Trouble::Asked(format!("state: {text:?} is no state of nodes")))
        });
        Ok(Self {
            id: None,
            name: query.take("name"),
            state: state.transpose()?,
            relay: query.take("relay"),
            status: query.parse("status")?,
        })
    }
}

/// `GET /nodes`.
pub(super) fn list(mut asked: Asked, settings: Arc<Settings>) -> Result<Question, Trouble> {
    let (filter, extent) = (Filter::read(&mut asked.query)?, asked.extent()?);
    asked.query.finish()?;
    Ok(Box::new(move |c| {
        let page = move |c: &mut _, paging: &_| nodes(c, &settings, &filter, paging);
        Reply::list("getNodes", c, extent, asked.format, page)
    }))
}

#[derive(QueryableByName)]
struct NodeRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    policy_server: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_contact: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    since: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    configid: Option<String>,
    #[diesel(embed)]
    results: Counts,
}

/// The nodes that pass a filter, by id.
pub fn nodes(
    c: &mut Connection,
    settings: &Settings,
    filter: &Filter,
    paging: &Paging,
) -> Result<Page<Node>, Trouble> {
    let now = Utc::now();
    let oldest = settings.oldest_fresh(now);
    let mut which = Conditions::default();
    which.is("n.nodeid = {}", filter.id.as_deref());
    which.is("n.nodeid > {}", paging.after_node()?);
    which.is_like("n.hostname", filter.name.as_deref());
    which.is("n.state = {}", filter.state.map(NodeState::as_str));
    which.is("n.policy_server = {}", filter.relay.as_deref());
    match filter.status {
        None => {}
        Some(NodeStatus::NoAnswer) => which.compares("(c.last IS NULL OR c.last < {})", Some(oldest)),
        Some(NodeStatus::Failing) => {
            which.compares("c.last >= {}", Some(oldest));
            which.holds("s.error + s.audit_noncompliant + s.audit_error > 0");
        }
        Some(NodeStatus::Compliant) => {
            which.compares("c.last >= {}", Some(oldest));
            which.holds("s.error + s.audit_noncompliant + s.audit_error = 0");
        }
    }
    let sql = format!(
        "SELECT n.nodeid, n.hostname, n.state, n.role, n.policy_server, n.last_contact, c.since, c.last, \
         c.configid, {OF_SET} FROM node n LEFT JOIN {} c ON c.nodeid = n.nodeid \
         LEFT JOIN compliance_set s ON s.id = c.set_id WHERE {} ORDER BY n.nodeid LIMIT {}",
        present(c, now, oldest),
        which.sql(),
        paging.limit + 1
    );
    let rows: Vec<NodeRow> = c.rows(&sql, &which.values())?;
    let nodes = rows.into_iter().map(|row| row.node(oldest)).collect();
    Ok(Page::cut(nodes, paging.limit, |node: &Node| Paging::node(&node.node_id)))
}

impl NodeRow {
    /// `oldest`: runs that started before are too old.
    fn node(self, oldest: i64) -> Node {
        let answers = self.last.is_some_and(|last| last >= oldest);
        let (status, results) = NodeStatus::of(answers, self.results);
        Node {
            node_id: self.nodeid,
            hostname: self.hostname,
            state: self.state,
            role: self.role,
            policy_server: self.policy_server,
            status,
            last_contact: self.last_contact.map(show),
            last_run: self.last.map(show),
            since: self.since.map(show),
            config_id: self.configid,
            compliance: results.compliance(),
            results,
        }
    }
}
