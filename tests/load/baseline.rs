// SPDX-License-Identifier: Apache-2.0
//! The yardstick: a bare binary `COPY` of the same rows into the same tables, all rows encoded beforehand,
//! one transaction per batch, one connection.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::{Connection, ExecuteCopyFromDsl, PgConnection, pg::CopyFormat};
use tests::{Result, server::DatabaseUrl, simulated::Run};

diesel::table! {
    /// Protocol 4.1.
    ruddersysevents (id) {
        /// Number.
        id -> BigInt,
        /// When.
        executiondate -> Timestamptz,
        /// Node.
        nodeid -> Text,
        /// Directive.
        directiveid -> Text,
        /// Rule.
        ruleid -> Text,
        /// Report.
        reportid -> Text,
        /// Component.
        component -> Text,
        /// Key value.
        keyvalue -> Nullable<Text>,
        /// Start of the run.
        executiontimestamp -> Timestamptz,
        /// Event type.
        eventtype -> Nullable<Text>,
        /// Technique.
        policy -> Nullable<Text>,
        /// Message.
        msg -> Nullable<Text>,
    }
}

/// Encoded batches.
#[derive(Debug, Default)]
pub struct Baseline {
    batches: Vec<Vec<u8>>,
    rows: usize,
    next_id: i64,
}

impl Baseline {
    /// Encodes a batch; each row gets the next number, like from the sequence.
    pub fn add_batch(&mut self, runs: &[Run]) {
        let mut batch = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for run in runs {
            for row in &run.rows {
                self.next_id += 1;
                self.rows += 1;
                batch.extend(12_i16.to_be_bytes());
                field(&mut batch, &self.next_id.to_be_bytes());
                field(&mut batch, &microseconds(row.execution).to_be_bytes());
                field(&mut batch, run.node_id.as_str().as_bytes());
                field(&mut batch, row.directive_id.as_bytes());
                field(&mut batch, row.rule_id.as_bytes());
                field(&mut batch, row.report_id.as_bytes());
                field(&mut batch, row.component.as_bytes());
                field(&mut batch, row.key_value.as_bytes());
                field(&mut batch, &microseconds(run.start).to_be_bytes());
                field(&mut batch, row.event_type.as_bytes());
                field(&mut batch, row.policy.as_bytes());
                field(&mut batch, row.message.as_bytes());
            }
        }
        batch.extend((-1_i16).to_be_bytes());
        self.batches.push(batch);
    }

    /// Rows encoded.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Copies everything in, and gives the time it took.
    pub fn copy(&self, database: &DatabaseUrl) -> Result<Duration> {
        use ruddersysevents::dsl;
        let DatabaseUrl::Postgres(url) = database else { return Err("COPY needs PostgreSQL".into()) };
        let mut connection = PgConnection::establish(url)?;
        let start = Instant::now();
        for batch in &self.batches {
            let query = diesel::copy_from(dsl::ruddersysevents).from_raw_data(dsl::ruddersysevents, |out| {
                out.write_all(batch).map_err(|e| diesel::result::Error::SerializationError(Box::new(e)))
            });
            query.with_format(CopyFormat::Binary).execute(&mut connection)?;
        }
        Ok(start.elapsed())
    }
}

/// Since 2000-01-01, as in the binary format of timestamps.
fn microseconds(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros() - 946_684_800_000_000
}

fn field(batch: &mut Vec<u8>, value: &[u8]) {
    batch.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    batch.extend(value);
}
