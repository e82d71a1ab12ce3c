// SPDX-License-Identifier: Apache-2.0
//! Times in tables, as Unix times here; the days and months (UTC) into which tables are divided.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime};

use crate::db::Connection;

/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// The column that says how old a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// A time stamp; in SQLite a text such as `2024-05-11 12:58:13+00:00`.
    Date(&'static str),
    /// A Unix time.
    Seconds(&'static str),
}

impl Column {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Date(name) | Self::Seconds(name) => name,
        }
    }

    /// SQL for a time.
    pub fn literal(self, seconds: i64) -> String {
        match self {
            Self::Date(_) => {
                let date = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
                format!("'{}'", date.format("%Y-%m-%d %H:%M:%S+00:00"))
            }
            Self::Seconds(_) => seconds.to_string(),
        }
    }

    /// SQL for an expression of its type as Unix time.
    pub fn seconds(self, c: &Connection, expression: &str) -> String {
        match (self, c) {
            (Self::Seconds(_), _) => expression.to_owned(),
            (_, Connection::Postgres(_)) => format!("floor(extract(epoch FROM {expression}))::bigint"),
            (_, Connection::Sqlite(_)) => format!("CAST(strftime('%s', {expression}) AS integer)"),
        }
    }
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// From (inclusive) to (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub from: i64,
    pub to: i64,
}

impl Unit {
    /// The day or month in which that is.
    pub fn around(self, seconds: i64) -> Range {
        let date = DateTime::from_timestamp(seconds, 0).unwrap_or_default().date_naive();
        let (first, next) = match self {
            Self::Day => (Some(date), date.succ_opt()),
            Self::Month => {
                let first = date.with_day(1);
                (first, first.and_then(|first| first.checked_add_months(Months::new(1))))
            }
        };
        Range { from: start_of(first.unwrap_or(date)), to: start_of(next.unwrap_or(NaiveDate::MAX)) }
    }

    /// The name of a partition of `table`.
    pub fn name(self, table: &str, range: Range) -> String {
        let date = DateTime::from_timestamp(range.from, 0).unwrap_or_default();
        match self {
            Self::Day => format!("{table}_{}", date.format("%Y%m%d")),
            Self::Month => format!("{table}_{}", date.format("%Y%m")),
        }
    }
}

/// What PostgreSQL says of a partition: `FOR VALUES FROM ('…') TO ('…')`; `None` for the default one, and for
/// bounds that were not made here.
pub(super) fn range_of(bound: &str) -> Option<Range> {
    let mut quoted = bound.strip_prefix("FOR VALUES FROM (")?.split('\'').skip(1).step_by(2);
    let (from, to) = (quoted.next()?, quoted.next()?);
    let seconds = |text: &str| {
        let date = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%#z");
        text.parse().ok().or_else(|| Some(date.ok()?.timestamp()))
    };
    let range = Range { from: seconds(from)?, to: seconds(to)? };
    quoted.next().is_none().then_some(range)
}

fn start_of(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp()
}

/// A time, for people.
pub(super) fn shown(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_follow_each_other_without_gap() {
        let mut at = start_of(NaiveDate::from_ymd_opt(2023, 12, 30).unwrap());
        for unit in [Unit::Day, Unit::Month] {
            for _ in 0..1000 {
                let range = unit.around(at);
                assert_eq!((unit.around(range.from), unit.around(range.to - 1)), (range, range));
                assert!(range.from < range.to);
                at = range.to;
            }
        }
        let leap = Unit::Month.around(1_709_164_800);
        assert_eq!((leap.to - leap.from, Unit::Month.name("x", leap)), (29 * DAY, "x_202402".to_owned()));
    }

    #[test]
    fn bounds_as_postgresql_says_them() {
        let day = Range { from: 1_715_385_600, to: 1_715_472_000 };
        let text = "FOR VALUES FROM ('2024-05-11 00:00:00+00') TO ('2024-05-12 00:00:00+00')";
        assert_eq!(range_of(text), Some(day));
        assert_eq!(range_of("FOR VALUES FROM ('1715385600') TO ('1715472000')"), Some(day));
        let other = ["DEFAULT", "FOR VALUES FROM (MINVALUE) TO ('7')", "FOR VALUES IN ('log_info')"];
        assert!(other.iter().all(|bound| range_of(bound).is_none()));
        assert_eq!(Unit::Day.name("run_log", day), "run_log_20240511");
    }
}
