// SPDX-License-Identifier: Apache-2.0
//! The state of the accepted nodes at an instant (protocol 18): which set of results each node has, and
//! whether it answers.

use chrono::{DateTime, Utc};

use super::{Query, Settings, Trouble, moment};

/// An instant, and what counts then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// Start of the oldest run that counts then, in Unix seconds.
    oldest: i64,
    is_past: bool,
}

impl Moment {
    /// Now.
    pub fn now(settings: &Settings) -> Self {
        let at = Utc::now();
        Self { at, oldest: settings.oldest_fresh(at), is_past: false }
    }

    /// An instant in the past, or now.
    pub fn of(settings: &Settings, at: Option<DateTime<Utc>>) -> Result<Self, Trouble> {
        match at {
            None => Ok(Self::now(settings)),
            Some(at) if at > Utc::now() => {
                Err(Trouble::Asked(format!("{} lies in the future", moment::show(at.timestamp()))))
            }
            Some(at) => Ok(Self { at, oldest: settings.oldest_fresh(at), is_past: true }),
        }
    }

    /// The instant that a member of a query names; now without it.
    pub fn read(query: &mut Query, name: &str, settings: &Settings) -> Result<Self, Trouble> {
        let at = query.take(name).map(|text| moment::parse(&text, Utc::now())).transpose()?;
        Self::of(settings, at)
    }

    /// Whether this is an instant in the past that somebody asked for.
    pub fn is_past(&self) -> bool {
        self.is_past
    }

    /// Whether the run that started then counts.
    pub fn is_fresh(&self, last: Option<i64>) -> bool {
        last.is_some_and(|last| last >= self.oldest)
    }

    /// The start of the latest run as far as it is known: of the past only segments are kept, and of one that
    /// went on, not when its runs were.
    pub fn last_run(&self, last: Option<i64>) -> Option<i64> {
        last.filter(|last| !self.is_past || *last <= self.at.timestamp())
    }

    /// SQL for a table expression called `t` with a row for each accepted node: `nodeid`, `hostname`, `since`
    /// and `last` of its segment and its `set_id`, all null where it has none, and `answers`, 1 or 0. There are
    /// no placeholders in it.
    pub fn relation(&self) -> String {
        let Self { at, oldest, is_past } = self;
        let (since, last, set, joins) = match is_past {
            false => {
                let joins = "LEFT JOIN compliance_current c ON c.nodeid = n.nodeid".to_owned();
                ("c.since", "c.last", "c.set_id", joins)
            }
            true => (
                "coalesce(c.since, h.since)",
                "coalesce(c.last, h.last)",
                "coalesce(c.set_id, h.set_id)",
                in_the_past(at.timestamp()),
            ),
        };
        format!(
            "(SELECT n.nodeid, n.hostname, {since} AS since, {last} AS last, {set} AS set_id, \
             CASE WHEN {last} >= {oldest} THEN 1 ELSE 0 END AS answers \
             FROM node n {joins} WHERE n.state = 'accepted') t"
        )
    }
}

/// Segments at an instant: the present one where it had begun; else the earlier one that spans the instant, or
/// the last one before it. Two looks into an index for each node that changed since.
fn in_the_past(at: i64) -> String {
    format!(
        "LEFT JOIN compliance_current c ON c.nodeid = n.nodeid AND c.since <= {at} \
         LEFT JOIN compliance_history h ON h.nodeid = n.nodeid \
         AND h.last = CASE WHEN c.nodeid IS NULL THEN coalesce(\
           (SELECT CASE WHEN x.since <= {at} THEN x.last END FROM compliance_history x \
            WHERE x.nodeid = n.nodeid AND x.last >= {at} ORDER BY x.last LIMIT 1), \
           (SELECT x.last FROM compliance_history x \
            WHERE x.nodeid = n.nodeid AND x.last < {at} ORDER BY x.last DESC LIMIT 1)) END"
    )
}
