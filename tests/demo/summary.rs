// SPDX-License-Identifier: Apache-2.0
//! What the root's database says about each node.

use diesel::{
    QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Text},
};
use protocol::node_id::NodeId;
use tests::{Result, judge::sqlite, server::DatabaseUrl};

/// One node over all its runs.
#[derive(Debug)]
pub struct NodeSummary {
    name: String,
    runs: i64,
    compliant: i64,
    repaired: i64,
    in_error: i64,
    other: i64,
    /// The failing components of the last run, with the lines attached to them.
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    component: String,
    message: String,
    lines: Vec<String>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    eventtype: String,
    #[diesel(sql_type = Text)]
    component: String,
    #[diesel(sql_type = Text)]
    msg: String,
}

impl NodeSummary {
    /// The policy repairs something at first, fails at one component in each run, and says why.
    pub fn is_as_expected(&self) -> bool {
        self.runs > 0
            && self.compliant > 0
            && self.repaired > 0
            && self.in_error == self.runs
            && self.failures.len() == 1
            && self.failures.iter().all(|failure| !failure.lines.is_empty())
    }
}

/// Reads the summaries of these nodes, given by name and id.
pub fn of_nodes(database: &DatabaseUrl, nodes: &[(String, NodeId)]) -> Result<Vec<NodeSummary>> {
    let mut connection = sqlite(database)?;
    let mut count = |what: &str, table: &str, node: &NodeId| -> Result<i64> {
        let query = format!("SELECT count(*) AS count FROM {table} WHERE nodeid = ? AND {what}");
        Ok(sql_query(query).bind::<Text, _>(node.as_str()).get_result::<Count>(&mut connection)?.count)
    };
    let mut summaries = Vec::new();
    for (name, node) in nodes {
        let mut reports = |kinds: &str| count(&format!("eventtype IN ({kinds})"), "ruddersysevents", node);
        summaries.push(NodeSummary {
            name: name.clone(),
            compliant: reports("'result_success', 'audit_compliant'")?,
            repaired: reports("'result_repaired'")?,
            in_error: reports("'result_error', 'audit_error', 'audit_noncompliant'")?,
            other: reports("'result_na', 'audit_na'")?,
            runs: count("1 = 1", "reportsexecution", node)?,
            failures: failures(database, node)?,
        });
    }
    Ok(summaries)
}

fn failures(database: &DatabaseUrl, node: &NodeId) -> Result<Vec<Failure>> {
    let lines: Vec<Line> = sql_query(
        "SELECT eventtype, component, msg FROM ruddersysevents WHERE nodeid = ?1 AND executiontimestamp = \
         (SELECT max(executiontimestamp) FROM ruddersysevents WHERE nodeid = ?1) ORDER BY id",
    )
    .bind::<Text, _>(node.as_str())
    .load(&mut sqlite(database)?)?;
    let mut failures = Vec::new();
    let mut said = Vec::new();
    for line in lines {
        match line.eventtype.as_str() {
            kind if kind.starts_with("log_") => said.push(line.msg),
            "result_error" => failures.push(Failure {
                component: line.component,
                message: line.msg,
                lines: std::mem::take(&mut said),
            }),
            _ => said.clear(),
        }
    }
    Ok(failures)
}

/// For people.
pub fn table(nodes: &[NodeSummary]) -> String {
    let mut text = format!(
        "{:<8}{:>6}{:>12}{:>10}{:>10}{:>16}\n",
        "node", "runs", "compliant", "repaired", "in error", "not applicable"
    );
    for n in nodes {
        text += &format!(
            "{:<8}{:>6}{:>12}{:>10}{:>10}{:>16}\n",
            n.name, n.runs, n.compliant, n.repaired, n.in_error, n.other
        );
    }
    for node in nodes {
        for failure in &node.failures {
            text +=
                &format!("\n{}, in its last run: {}: {}\n", node.name, failure.component, failure.message);
            for line in &failure.lines {
                text += &format!("    {line}\n");
            }
        }
    }
    text
}
