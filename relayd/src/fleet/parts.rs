// SPDX-License-Identifier: Apache-2.0
//! `/compliance?by=rule`, `directive` or `component`: how each of them is, over all nodes or on one.

use std::collections::HashMap;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Trouble,
    conditions::Conditions,
    counts::{Counts, Wanted, percent},
    sets::{self, Held, ResultFilter},
    state::Moment,
};
use crate::{compliance::status::Status, db::Connection};

/// What results are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Rules.
    Rule,
    /// Directives of rules.
    Directive,
    /// Components of those.
    Component,
}

/// Results that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Part {
    /// The rule.
    pub rule_id: String,
    /// The directive; absent by rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directive_id: Option<String>,
    /// Its technique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The component; absent by rule and directive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Nodes with such results.
    pub nodes: i64,
    /// Results that are as they should be, of 100.
    pub compliance: Option<f64>,
    /// The results.
    pub results: Counts,
}

impl Row for Part {
    const COLUMNS: &'static [&'static str] = &[
        "rule_id",
        "directive_id",
        "policy",
        "component",
        "nodes",
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
        let part = self.clone();
        let mut cells = vec![
            part.rule_id,
            part.directive_id.unwrap_or_default(),
            part.policy.unwrap_or_default(),
            part.component.unwrap_or_default(),
            part.nodes.to_string(),
            percent(part.compliance),
        ];
        cells.extend(part.results.numbers().map(|number| number.to_string()));
        cells
    }
}

/// Which parts are wanted, of which state.
#[derive(Debug, Clone)]
pub struct Ask {
    /// When.
    pub moment: Moment,
    /// What results are put together by.
    pub by: By,
    /// On this node only.
    pub node: Option<String>,
    /// Of these results.
    pub filter: ResultFilter,
    /// Only those that have such results.
    pub wanted: Option<Wanted>,
}

impl By {
    /// Columns that tell one from the others.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Rule => &["ruleid"],
            Self::Directive => &["ruleid", "directiveid", "policy"],
            Self::Component => &["ruleid", "directiveid", "policy", "component"],
        }
    }

    fn select(self) -> String {
        let of = |column: &&str| match self.columns().contains(column) {
            true => (*column).to_owned(),
            false => format!("CAST(NULL AS text) AS {column}"),
        };
        let columns: Vec<_> = ["ruleid", "directiveid", "policy", "component"].iter().map(of).collect();
        columns.join(", ")
    }

    /// `(ruleid, …) > ($1, …)`
    fn compares(self, which: &mut Conditions, operator: &str, key: &Key) {
        let values = key.values();
        let places: Vec<_> = values.into_iter().map(|value| which.text(value)).collect();
        which.holds(format!("({}) {operator} ({})", self.columns().join(", "), places.join(", ")));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, QueryableByName)]
struct Key {
    #[diesel(sql_type = Text)]
    ruleid: String,
    #[diesel(sql_type = Nullable<Text>)]
    directiveid: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    policy: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    component: Option<String>,
}

impl Key {
    fn values(&self) -> Vec<String> {
        let more = [&self.directiveid, &self.policy, &self.component];
        [self.ruleid.clone()].into_iter().chain(more.into_iter().flatten().cloned()).collect()
    }

    /// Reads what [`Key::cursor`] writes.
    fn parse(text: &str, by: By) -> Result<Self, Trouble> {
        let unreadable = || Paging::unreadable(text);
        let values: Vec<String> = serde_json::from_str(text).map_err(|_| unreadable())?;
        if values.len() != by.columns().len() {
            return Err(unreadable());
        }
        let mut values = values.into_iter();
        let ruleid = values.next().ok_or_else(unreadable)?;
        Ok(Self { ruleid, directiveid: values.next(), policy: values.next(), component: values.next() })
    }

    fn cursor(&self) -> String {
        serde_json::to_string(&self.values()).unwrap_or_default()
    }
}

#[derive(QueryableByName)]
struct LabelRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    eventtype: String,
    #[diesel(embed)]
    key: Key,
}

/// Parts in the order of their ids. A page may have fewer than its limit also where there is a next one:
/// parts that no node has at that instant are left out.
pub fn parts(c: &mut Connection, ask: &Ask, paging: &Paging) -> Result<Page<Part>, Trouble> {
    let mut keys = keys(c, ask, paging)?;
    let is_more = keys.len() > paging.limit;
    keys.truncate(paging.limit);
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let next = is_more.then(|| last.cursor());
    let labels = labels(c, ask, first, last, &keys)?;
    let tallies = count(c, ask, &labels, keys.len())?;
    let items = keys.into_iter().zip(tallies).map(|(key, (nodes, results))| Part {
        rule_id: key.ruleid,
        directive_id: key.directiveid,
        policy: key.policy,
        component: key.component,
        nodes,
        compliance: results.compliance(),
        results,
    });
    let is_wanted = |part: &Part| ask.wanted.is_none_or(|wanted| wanted.of(&part.results) > 0);
    Ok(Page { items: items.filter(|part| part.nodes > 0 && is_wanted(part)).collect(), next })
}

fn keys(c: &mut Connection, ask: &Ask, paging: &Paging) -> Result<Vec<Key>, Trouble> {
    let mut which = ask.filter.conditions();
    if let Some(after) = &paging.after {
        ask.by.compares(&mut which, ">", &Key::parse(after, ask.by)?);
    }
    let sql = format!(
        "SELECT DISTINCT {} FROM compliance_result WHERE {} ORDER BY {} LIMIT {}",
        ask.by.select(),
        which.sql(),
        ask.by.columns().join(", "),
        paging.limit + 1
    );
    Ok(c.rows(&sql, &which.values())?)
}

/// Of each result, to which of the keys it belongs, and what it says.
type Labels = HashMap<i64, (usize, Status)>;

/// Results that are read in one go.
const AT_A_TIME: usize = 20_000;

fn labels(c: &mut Connection, ask: &Ask, first: &Key, last: &Key, keys: &[Key]) -> Result<Labels, Trouble> {
    let places: HashMap<&Key, usize> = keys.iter().zip(0..).collect();
    let (mut labels, mut id) = (Labels::new(), 0);
    loop {
        let mut which = ask.filter.conditions();
        ask.by.compares(&mut which, ">=", first);
        ask.by.compares(&mut which, "<=", last);
        which.compares("id > {}", Some(id));
        let sql = format!(
            "SELECT id, eventtype, {} FROM compliance_result WHERE {} ORDER BY id LIMIT {AT_A_TIME}",
            ask.by.select(),
            which.sql()
        );
        let rows: Vec<LabelRow> = c.rows(&sql, &which.values())?;
        id = rows.last().map_or(id, |row| row.id);
        let is_end = rows.len() < AT_A_TIME;
        labels.extend(rows.into_iter().filter_map(|row| {
            let label = (*places.get(&row.key)?, Status::of(&row.eventtype)?);
            Some((row.id, label))
        }));
        if is_end {
            return Ok(labels);
        }
    }
}

/// Nodes and results of each key.
fn count(c: &mut Connection, ask: &Ask, labels: &Labels, keys: usize) -> Result<Vec<(i64, Counts)>, Trouble> {
    let held = sets::held(c, &ask.moment, ask.node.as_deref())?;
    let by_set: HashMap<i64, Held> = held.iter().map(|held| (held.set_id, *held)).collect();
    let ids: Vec<i64> = held.iter().map(|held| held.set_id).collect();
    let mut tallies = vec![(0, Counts::default()); keys];
    // The last set in which a key was seen: a node counts once however many results it has.
    let mut seen = vec![None; keys];
    sets::each(c, &ids, |set, results| {
        let Some(held) = by_set.get(&set) else { return };
        for (key, status) in results.iter().filter_map(|id| labels.get(id)) {
            let (nodes, counts) = &mut tallies[*key];
            counts.count(*status, held.answering);
            counts.no_answer += held.silent;
            if seen[*key].replace(set) != Some(set) {
                *nodes += held.answering + held.silent;
            }
        }
    })?;
    Ok(tallies)
}
