-- SPDX-License-Identifier: Apache-2.0
-- The tables of protocol 4.1 and 4.2. Dates are texts in UTC, such as '2024-05-11 12:58:13+00:00'.
-- AUTOINCREMENT keeps ids from being used again after rows were removed; they start at 101.
CREATE TABLE ruddersysevents (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    executiondate text NOT NULL,
    nodeid text NOT NULL CHECK (nodeid <> ''),
    directiveid text NOT NULL CHECK (directiveid <> ''),
    ruleid text NOT NULL CHECK (ruleid <> ''),
    reportid text NOT NULL CHECK (reportid <> ''),
    component text NOT NULL CHECK (component <> ''),
    keyvalue text,
    executiontimestamp text NOT NULL,
    eventtype text,
    policy text,
    msg text
);
INSERT INTO sqlite_sequence (name, seq) VALUES ('ruddersysevents', 100);
CREATE INDEX executiontimestamp_idx ON ruddersysevents (executiontimestamp);
CREATE INDEX composite_node_execution_idx ON ruddersysevents (nodeid, executiontimestamp);
-- Information attached to results (protocol 3.5), which is not kept for as long as they are.
CREATE INDEX details_executiontimestamp_idx ON ruddersysevents (executiontimestamp) WHERE eventtype IN
    ('log_trace', 'log_debug', 'log_info', 'log_inform', 'log_warn', 'log_warning', 'log_repaired');
CREATE INDEX endrun_control_idx ON ruddersysevents (id)
    WHERE eventtype = 'control' AND component = 'end';
CREATE INDEX changes_executiontimestamp_idx ON ruddersysevents (executiontimestamp)
    WHERE eventtype = 'result_repaired';

CREATE TABLE reportsexecution (
    nodeid text NOT NULL,
    date text NOT NULL,
    nodeconfigid text,
    insertionid integer,
    insertiondate text DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),
    compliancecomputationdate text,
    PRIMARY KEY (nodeid, date)
);
CREATE INDEX reportsexecution_date_idx ON reportsexecution (date);
CREATE INDEX reportsexecution_nodeid_nodeconfigid_idx ON reportsexecution (nodeid, nodeconfigid);
CREATE INDEX reportsexecution_uncomputedrun_idx ON reportsexecution (compliancecomputationdate)
    WHERE compliancecomputationdate IS NULL;
