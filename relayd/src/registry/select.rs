// SPDX-License-Identifier: Apache-2.0
//! Finding nodes in the registry.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use diesel::QueryResult;
use protocol::{hash::KeyHash, node_id::NodeId};

use super::{
    admin::{AdminError, now},
    enrol::TextRow,
    record::{NodeDetails, NodeRecord, NodeState},
    row::{
        self, CERTIFICATE_COLUMNS, CONFLICT_COLUMNS, CertificateRow, ConflictRow, KEY_COLUMNS, KeyRow,
        NODE_COLUMNS, NodeRow,
    },
};
use crate::db::{Connection, query::Value};

/// Which nodes; the default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those in one of these states; all when empty.
    pub states: Vec<NodeState>,
    /// Those that connect to this server.
    pub relay: Option<NodeId>,
    /// Those at any depth below this server.
    pub below: Option<NodeId>,
    /// Those whose host name is like this: `*` stands for any text, `?` for one character; without case.
    pub name: Option<String>,
    /// Those that were not heard of for this long.
    pub silent_for: Option<Duration>,
    /// Those with conflicts that nobody resolved.
    pub conflicts: bool,
}

/// The nodes that pass a filter, by host name.
pub fn list(c: &mut Connection, filter: &Filter) -> Result<Vec<NodeRecord>, AdminError> {
    let rows: Vec<NodeRow> = c.rows(&format!("SELECT {NODE_COLUMNS} FROM node"), &[])?;
    let mut hashes = current_keys(c)?;
    let mut conflicts = open_conflicts(c)?;
    let below = filter.below.as_ref().map(|server| below(&rows, server));
    let silent_since =
        filter.silent_for.map(|time| now() - i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let mut nodes: Vec<NodeRecord> = rows
        .into_iter()
        .filter_map(|row| {
            let (hash, open) = (hashes.remove(&row.nodeid), conflicts.remove(&row.nodeid));
            row.record(hash, open.unwrap_or_default())
        })
        .filter(|node| filter.states.is_empty() || filter.states.contains(&node.state))
        .filter(|node| filter.relay.as_ref().is_none_or(|relay| node.policy_server == *relay))
        .filter(|node| below.as_ref().is_none_or(|below| below.contains(node.node_id.as_str())))
        .filter(|node| filter.name.as_ref().is_none_or(|name| is_like(name, &node.hostname)))
        .filter(|node| {
            silent_since.is_none_or(|since| node.last_contact.is_none_or(|last| last.timestamp() < since))
        })
        .filter(|node| !filter.conflicts || node.open_conflicts > 0)
        .collect();
    nodes.sort_by(|a, b| (&a.hostname, &a.node_id).cmp(&(&b.hostname, &b.node_id)));
    Ok(nodes)
}

/// All that is known of a node.
pub fn get(c: &mut Connection, id: &NodeId) -> Result<Option<NodeDetails>, AdminError> {
    let Some(row) = row::node(c, id)? else { return Ok(None) };
    let of_node = [Value::Text(id.as_str())];
    let keys: Vec<_> = row::keys(c, id)?.into_iter().filter_map(KeyRow::record).collect();
    let sql = format!(
        "SELECT {CERTIFICATE_COLUMNS} FROM node_certificate WHERE nodeid = $1 \
         ORDER BY not_before DESC, fingerprint"
    );
    let certificates: Vec<CertificateRow> = c.rows(&sql, &of_node)?;
    let sql = format!(
        "SELECT {CONFLICT_COLUMNS} FROM node_conflict WHERE nodeid = $1 ORDER BY last_seen DESC, id DESC"
    );
    let conflicts: Vec<_> =
        c.rows::<ConflictRow>(&sql, &of_node)?.into_iter().filter_map(ConflictRow::record).collect();
    let current = keys.iter().find(|key| key.valid_until.is_none()).map(|key| key.key_hash.clone());
    let open = conflicts.iter().filter(|conflict| conflict.resolved.is_none()).count();
    Ok(row.record(current, open as u64).map(|node| NodeDetails {
        node,
        keys,
        certificates: certificates.into_iter().filter_map(CertificateRow::record).collect(),
        conflicts,
    }))
}

/// Shortest start of an id that stands for it, in characters.
const SHORTEST: usize = 8;
/// Most nodes that are named when a text may mean several.
const MOST_NAMED: usize = 10;

/// What says that an id follows, whole, and nothing else.
const ID: &str = "id:";

/// The node that an operator means: by its id, by the start of its id, or by its host name. Machines
/// choose both, so what fits several nodes, in whatever way, means none of them; `id:` before a whole id
/// means that one.
pub fn find(c: &mut Connection, text: &str) -> Result<NodeId, AdminError> {
    let found: Vec<TextRow> = if let Some(id) = text.strip_prefix(ID) {
        c.rows("SELECT nodeid AS text FROM node WHERE nodeid = $1", &[Value::Text(id)])?
    } else {
        let by_start = match text.chars().count() {
            // PostgreSQL wants the length as a small number.
            length if length >= SHORTEST => format!(" OR substr(nodeid, 1, {length}) = $1"),
            _ => String::new(),
        };
        let sql = format!(
            "SELECT nodeid AS text FROM node WHERE nodeid = $1 OR lower(hostname) = $2{by_start} \
             ORDER BY nodeid LIMIT {MOST_NAMED}"
        );
        c.rows(&sql, &[Value::Text(text), Value::Text(&text.to_ascii_lowercase())])?
    };
    match found.as_slice() {
        [one] => one.text.parse().map_err(|e| AdminError::Invalid(format!("{:?}: {e}", one.text))),
        [] => Err(AdminError::NotFound(format!("there is no node {text:?}; see relayd node list"))),
        several => {
            let ids: Vec<_> = several.iter().map(|row| format!("{ID}{}", row.text)).collect();
            let ids = ids.join(", ");
            Err(AdminError::NotFound(format!("{text:?} may be any of {ids}; write it like that")))
        }
    }
}

#[derive(diesel::QueryableByName)]
struct CountRow {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

fn current_keys(c: &mut Connection) -> QueryResult<HashMap<String, KeyHash>> {
    let sql = format!("SELECT {KEY_COLUMNS} FROM node_key WHERE valid_until IS NULL");
    let keys: Vec<KeyRow> = c.rows(&sql, &[])?;
    Ok(keys.into_iter().filter_map(|key| Some((key.nodeid.clone(), key.hash()?))).collect())
}

fn open_conflicts(c: &mut Connection) -> QueryResult<HashMap<String, u64>> {
    let sql = "SELECT nodeid AS text, count(*) AS number FROM node_conflict \
               WHERE resolved IS NULL GROUP BY nodeid";
    let rows: Vec<CountRow> = c.rows(sql, &[])?;
    Ok(rows.into_iter().map(|row| (row.text, row.number.unsigned_abs())).collect())
}

fn below(rows: &[NodeRow], server: &NodeId) -> HashSet<String> {
    let mut attached: HashMap<&str, Vec<&str>> = HashMap::new();
    for row in rows {
        attached.entry(&row.policy_server).or_default().push(&row.nodeid);
    }
    let (mut found, mut level) = (HashSet::new(), vec![server.as_str()]);
    // Each list is taken out once, so circles come to an end.
    while let Some(server) = level.pop() {
        for node in attached.remove(server).into_iter().flatten() {
            if node != server && found.insert(node.to_owned()) {
                level.push(node);
            }
        }
    }
    found
}

/// Whether a text is like a pattern with `*` and `?`; without case.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when a guess of what a `*` stands for turns out wrong.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_without_case() {
        for (pattern, text, expected) in [
            ("web*", "WEB1.example.org", true),
            ("*.example.org", "web1.example.org", true),
            ("w?b*org", "web1.example.org", true),
            ("*a*b*c", "aabbc", true),
            ("web", "web1", false),
            ("*.example.org", "example.org", false),
            ("", "", true),
            ("**", "", true),
            ("?", "", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
