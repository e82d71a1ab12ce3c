// SPDX-License-Identifier: Apache-2.0
//! What differs between two sets of results.

use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Trouble,
    sets::{self, ResultFilter, ResultRow},
};
use crate::{compliance::status::Status, db::Connection};

/// A component that says something else than before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The rule.
    pub rule_id: String,
    /// The directive.
    pub directive_id: String,
    /// Its technique.
    pub policy: String,
    /// The component.
    pub component: String,
    /// The key value.
    pub key_value: String,
    /// What it said; null: it was not there.
    pub was: Option<String>,
    /// What it says; null: it is not there any more.
    pub is: Option<String>,
}

/// A difference between two sets.
#[derive(Debug, Clone)]
pub struct Different {
    /// What it is about.
    pub difference: Difference,
    /// Id of the result that came; or of the one that went, where none came.
    pub result: i64,
}

/// A set before and a set after; none: no results at all.
pub type Pair = (Option<i64>, Option<i64>);

/// The differences of each of these pairs that pass a filter. Each set and each result is read once.
pub fn between(
    c: &mut Connection,
    pairs: &[Pair],
    filter: &ResultFilter,
) -> Result<HashMap<Pair, Vec<Different>>, Trouble> {
    let mut ids: Vec<i64> = pairs.iter().flat_map(|(was, is)| [*was, *is]).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut contents = HashMap::new();
    sets::each(c, &ids, |set, results| {
        contents.insert(set, results);
    })?;
    let of = |set: Option<i64>| set.and_then(|set| contents.get(&set)).map_or(&[][..], Vec::as_slice);
    let changes: HashMap<Pair, (Vec<i64>, Vec<i64>)> = pairs
        .iter()
        .map(|pair| (*pair, (without(of(pair.0), of(pair.1)), without(of(pair.1), of(pair.0)))))
        .collect();
    let needed: HashSet<i64> =
        changes.values().flat_map(|(gone, new)| gone.iter().chain(new)).copied().collect();
    let mut needed: Vec<i64> = needed.into_iter().collect();
    needed.sort_unstable();
    let results = sets::results(c, &needed, filter)?;
    Ok(changes.into_iter().map(|(pair, (gone, new))| (pair, paired(&results, &gone, &new))).collect())
}

/// What is in `some` and not in `others`, repetitions counted. Both are ascending, and so is the result.
fn without(some: &[i64], others: &[i64]) -> Vec<i64> {
    let mut others = others.iter().copied().peekable();
    let mut left = Vec::new();
    for id in some {
        while others.next_if(|other| other < id).is_some() {}
        if others.next_if(|other| other == id).is_none() {
            left.push(*id);
        }
    }
    left
}

/// Puts together what was and what is said of the same component.
fn paired(results: &HashMap<i64, ResultRow>, gone: &[i64], new: &[i64]) -> Vec<Different> {
    /// What each report said, and the id of its result.
    type Said = Vec<(&'static str, i64)>;
    let mut by_component: BTreeMap<[&str; 6], [Said; 2]> = BTreeMap::new();
    for (place, ids) in [gone, new].into_iter().enumerate() {
        for row in ids.iter().filter_map(|id| results.get(id)) {
            let key =
                [&*row.ruleid, &row.directiveid, &row.policy, &row.component, &row.keyvalue, &row.reportid];
            let Some(status) = Status::of(&row.eventtype) else { continue };
            by_component.entry(key).or_default()[place].push((status.column(), row.id));
        }
    }
    let mut differences = Vec::new();
    for (key, [was, is]) in by_component {
        let [rule, directive, policy, component, key_value, _] = key.map(str::to_owned);
        for place in 0..was.len().max(is.len()) {
            let (was, is) = (was.get(place), is.get(place));
            let said = |one: Option<&(&str, i64)>| one.map(|(said, _)| (*said).to_owned());
            let difference = Difference {
                rule_id: rule.clone(),
                directive_id: directive.clone(),
                policy: policy.clone(),
                component: component.clone(),
                key_value: key_value.clone(),
                was: said(was),
                is: said(is),
            };
            let result = is.or(was).map_or(0, |(_, id)| *id);
            differences.push(Different { difference, result });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_count() {
        assert_eq!(without(&[1, 2, 2, 3], &[2, 4]), [1, 2, 3]);
        assert_eq!(without(&[2], &[1, 2, 2]), [0; 0]);
        assert_eq!(without(&[5, 7], &[]), [5, 7]);
    }

    #[test]
    fn a_component_is_paired_with_itself() {
        let row = |id, component: &str, eventtype: &str| ResultRow {
            id,
            ruleid: "r".into(),
            directiveid: "d".into(),
            reportid: "0".into(),
            policy: "p".into(),
            component: component.into(),
            keyvalue: "k".into(),
            eventtype: eventtype.into(),
        };
        let rows = [
            row(1, "a", "result_success"),
            row(2, "a", "result_error"),
            row(3, "b", "audit_compliant"),
            row(4, "c", "result_na"),
        ];
        let rows = rows.into_iter().map(|row| (row.id, row)).collect();
        let found = paired(&rows, &[1, 3], &[2, 4]);
        let of = |Different { difference: one, result }: Different| (one.component, one.was, one.is, result);
        let seen: Vec<_> = found.into_iter().map(of).collect();
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            ("a".into(), text("success"), text("error"), 2),
            ("b".into(), text("audit_compliant"), None, 3),
            ("c".into(), None, text("na"), 4),
        ];
        assert_eq!(seen, expected);
    }
}
