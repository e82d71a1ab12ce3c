// SPDX-License-Identifier: Apache-2.0
//! The tables as diesel sees them, once per back end because dates differ (protocol 4.1, 4.2).
//!
//! Only what is written or read here; the definitions are the migrations in `relayd/migrations/`.

/// PostgreSQL.
pub mod postgres {
    diesel::table! {
        /// Reports.
        ruddersysevents (id) {
            /// From the sequence `serial`.
            id -> BigInt,
            /// When the line was produced.
            executiondate -> Timestamptz,
            /// Node.
            nodeid -> Text,
            /// Directive.
            directiveid -> Text,
            /// Rule.
            ruleid -> Text,
            /// Report id.
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
}

/// SQLite.
pub mod sqlite {
    diesel::table! {
        /// Reports.
        ruddersysevents (id) {
            /// Row id.
            id -> BigInt,
            /// When the line was produced.
            executiondate -> TimestamptzSqlite,
            /// Node.
            nodeid -> Text,
            /// Directive.
            directiveid -> Text,
            /// Rule.
            ruleid -> Text,
            /// Report id.
            reportid -> Text,
            /// Component.
            component -> Text,
            /// Key value.
            keyvalue -> Nullable<Text>,
            /// Start of the run.
            executiontimestamp -> TimestamptzSqlite,
            /// Event type.
            eventtype -> Nullable<Text>,
            /// Technique.
            policy -> Nullable<Text>,
            /// Message.
            msg -> Nullable<Text>,
        }
    }

    diesel::table! {
        /// Complete runs.
        reportsexecution (nodeid, date) {
            /// Node.
            nodeid -> Text,
            /// Start of the run.
            date -> TimestamptzSqlite,
            /// Version of the policies.
            nodeconfigid -> Nullable<Text>,
            /// Id of the first report.
            insertionid -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        /// The ledger.
        run_log (nodeid, digest) {
            /// Node.
            nodeid -> Text,
            /// SHA-256 of the verified content.
            digest -> Binary,
            /// Start of the run.
            date -> TimestamptzSqlite,
            /// File it came in.
            file -> Text,
            /// Rows stored.
            reports -> Integer,
            /// Id of the first.
            insertionid -> Nullable<BigInt>,
        }
    }
}
