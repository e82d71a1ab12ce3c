// SPDX-License-Identifier: Apache-2.0
//! The database of an existing server, as protocol 4 describes it.

use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::Text};

use crate::Result;

/// The tables, made from the description in protocol 4.1 and 4.2.
pub const TABLES: &str = "
CREATE SEQUENCE serial START 101;
CREATE TABLE ruddersysevents (
    id bigint PRIMARY KEY DEFAULT nextval('serial'),
    executiondate timestamp with time zone NOT NULL,
    nodeid text NOT NULL CHECK (nodeid <> ''),
    directiveid text NOT NULL CHECK (directiveid <> ''),
    ruleid text NOT NULL CHECK (ruleid <> ''),
    reportid text NOT NULL CHECK (reportid <> ''),
    component text NOT NULL CHECK (component <> ''),
    keyvalue text,
    executiontimestamp timestamp with time zone NOT NULL,
    eventtype text,
    policy text,
    msg text
);
CREATE INDEX executiontimestamp_idx ON ruddersysevents (executiontimestamp);
CREATE INDEX composite_node_execution_idx ON ruddersysevents (nodeid, executiontimestamp);
CREATE INDEX ruleid_idx ON ruddersysevents (ruleid);
CREATE INDEX endrun_control_idx ON ruddersysevents (id) WHERE eventtype = 'control' AND component = 'end';
CREATE INDEX changes_executiontimestamp_idx ON ruddersysevents (executiontimestamp) WHERE eventtype = 'result_repaired';
CREATE TABLE reportsexecution (
    nodeid text NOT NULL,
    date timestamp with time zone NOT NULL,
    nodeconfigid text,
    insertionid bigint,
    insertiondate timestamp with time zone DEFAULT now(),
    compliancecomputationdate timestamp with time zone,
    PRIMARY KEY (nodeid, date)
);
CREATE INDEX reportsexecution_date_idx ON reportsexecution (date);
CREATE INDEX reportsexecution_nodeid_nodeconfigid_idx ON reportsexecution (nodeid, nodeconfigid);
CREATE INDEX reportsexecution_uncomputedrun_idx ON reportsexecution (compliancecomputationdate)
    WHERE compliancecomputationdate IS NULL;
";

/// What the relay daemon of an existing server may do.
pub const RIGHTS: &str = "
GRANT SELECT, INSERT ON ruddersysevents, reportsexecution TO rudder;
GRANT USAGE ON SEQUENCE serial TO rudder;
";

#[derive(QueryableByName)]
struct Definition {
    #[diesel(sql_type = Text)]
    definition: String,
}

/// Everything the catalogue says about the two tables.
pub fn definitions(connection: &mut PgConnection) -> Result<Vec<String>> {
    let found: Vec<Definition> = sql_query(
        "SELECT definition FROM (
            SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' ||
                   coalesce(column_default, '') AS definition
            FROM information_schema.columns WHERE table_name IN ('ruddersysevents', 'reportsexecution')
            UNION ALL
            SELECT indexdef FROM pg_indexes WHERE tablename IN ('ruddersysevents', 'reportsexecution')
            UNION ALL
            SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid IN ('ruddersysevents'::regclass, 'reportsexecution'::regclass)
        ) definitions ORDER BY definition",
    )
    .load(connection)?;
    Ok(found.into_iter().map(|found| found.definition).collect())
}
