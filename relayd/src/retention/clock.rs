// SPDX-License-Identifier: Apache-2.0
//! Up to when time has passed, as far as can be known: a wall clock that jumped must not make a year of
//! reports look old.
//!
//! How far retention has come is in the database. From there time passes as fast as the steady clock goes.
//! To where the wall clock is beyond that (the server was off, or its clock jumped) it goes only once another
//! node says so, too: one whose last runs began, by its own clock, within a day of it. Until then too much is
//! kept, and nothing is lost.

use std::time::Duration;

use diesel::{QueryResult, QueryableByName, sql_types::BigInt};
use protocol::node_id::NodeId;

use super::time::{Column, DAY};
use crate::db::{Connection, query::Value};

/// How much the wall clock may be ahead of the steady one, in seconds: leap seconds, slewing.
const TOLERANCE: i64 = 300;

/// The present, for retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// What the wall clock says.
    Agreed(i64),
    /// Something earlier: nobody else says that it is as late as the wall clock does.
    Doubtful(i64),
}

impl Present {
    /// As Unix time.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Agreed(seconds) | Self::Doubtful(seconds) => seconds,
        }
    }
}

#[derive(QueryableByName)]
struct Reached {
    #[diesel(sql_type = BigInt)]
    reached: i64,
}

/// Finds out, and notes it. `passed` is the time since this process did so last, by the steady clock.
pub(super) fn present(
    c: &mut Connection,
    wall: i64,
    passed: Option<Duration>,
    own_id: &NodeId,
) -> QueryResult<Present> {
    let noted = c.row::<Reached>("SELECT reached FROM retention", &[])?.map(|row| row.reached);
    let present = match noted {
        None => Present::Agreed(wall),
        Some(reached) => {
            let passed = passed.map_or(0, |passed| i64::try_from(passed.as_secs()).unwrap_or(i64::MAX));
            let expected = reached.saturating_add(passed);
            if wall <= expected.saturating_add(TOLERANCE) || others_agree(c, wall, own_id)? {
                Present::Agreed(wall)
            } else {
                Present::Doubtful(expected)
            }
        }
    };
    let reached = present.seconds();
    match noted {
        // The clock was far ahead when that was noted, as others confirm: a jump to there must not count again.
        Some(noted) if is_far_ahead(c, noted, reached, own_id)? => {
            c.run("UPDATE retention SET reached = $1", &[Value::Int(reached)])?;
        }
        // Else never back: a clock that was set back and is right again would otherwise have jumped.
        Some(noted) if noted >= reached => {}
        Some(_) => drop(c.run("UPDATE retention SET reached = $1", &[Value::Int(reached)])?),
        None => {
            let sql = "INSERT INTO retention (single, reached) VALUES (1, $1) ON CONFLICT DO NOTHING";
            c.run(sql, &[Value::Int(reached)])?;
        }
    }
    Ok(present)
}

/// Whether the time that was noted is one that no other node has come near to, while others have sent runs now.
fn is_far_ahead(c: &mut Connection, noted: i64, reached: i64, own_id: &NodeId) -> QueryResult<bool> {
    let after = reached.saturating_add(DAY);
    if after >= noted || !others_agree(c, reached, own_id)? {
        return Ok(false);
    }
    let sql = format!(
        "SELECT count(*) AS number FROM (SELECT 1 FROM reportsexecution \
         WHERE date >= {} AND nodeid <> $1 LIMIT 1) later",
        Column::Date("date").literal(after),
    );
    Ok(c.number(&sql, &[Value::Text(own_id.as_str())])? == 0)
}

fn others_agree(c: &mut Connection, wall: i64, own_id: &NodeId) -> QueryResult<bool> {
    let date = Column::Date("date");
    let sql = format!(
        "SELECT count(*) AS number FROM (SELECT 1 FROM reportsexecution \
         WHERE date > {} AND date < {} AND nodeid <> $1 LIMIT 1) others",
        date.literal(wall.saturating_sub(DAY)),
        date.literal(wall.saturating_add(DAY)),
    );
    Ok(c.number(&sql, &[Value::Text(own_id.as_str())])? > 0)
}
