-- SPDX-License-Identifier: Apache-2.0
-- The state of each node over time (protocol 18). All times are Unix times in seconds, as in the
-- registry: starts of runs as signed. A segment is a longest series of complete runs of a node with the
-- same results and no gap: unchanged results move its `last`, and write nothing else.

-- One row. Each collection of garbage counts `generation` up: ids that were looked up before are void.
CREATE TABLE compliance_generation (
    single integer PRIMARY KEY CHECK (single = 1),
    generation bigint NOT NULL,
    -- When the runs stored before these tables were there had all been taken in; null: not yet, and
    -- `built_to` is the last node of which they were.
    built bigint,
    built_to text
);
INSERT INTO compliance_generation (single, generation, built)
SELECT 1, 1, CASE WHEN EXISTS (SELECT 1 FROM reportsexecution) THEN NULL ELSE 0 END;

-- One row for each distinct counted result (protocol 3.5) anywhere in the fleet.
CREATE TABLE compliance_result (
    id integer PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the fields below; see relayd/src/compliance/results.rs.
    digest blob NOT NULL UNIQUE CHECK (length(digest) = 32),
    ruleid text NOT NULL,
    directiveid text NOT NULL,
    reportid text NOT NULL,
    policy text NOT NULL,
    component text NOT NULL,
    keyvalue text NOT NULL,
    eventtype text NOT NULL
);

-- All counted results of a run; shared by all runs and nodes with the same ones.
CREATE TABLE compliance_set (
    id integer PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of all results, in order.
    digest blob NOT NULL UNIQUE CHECK (length(digest) = 32),
    -- Ids of the results, ascending, separated by commas; one for each report, so that they may repeat.
    results text NOT NULL,
    success integer NOT NULL,
    repaired integer NOT NULL,
    error integer NOT NULL,
    na integer NOT NULL,
    audit_compliant integer NOT NULL,
    audit_noncompliant integer NOT NULL,
    audit_error integer NOT NULL,
    audit_na integer NOT NULL
);

-- The latest segment of each node.
CREATE TABLE compliance_current (
    nodeid text PRIMARY KEY CHECK (nodeid <> ''),
    -- Start of its first and of its last run.
    since bigint NOT NULL,
    last bigint NOT NULL,
    -- Of the last run.
    configid text,
    set_id bigint NOT NULL,
    CHECK (since <= last)
) WITHOUT ROWID;

-- Earlier segments of each node.
CREATE TABLE compliance_history (
    nodeid text NOT NULL CHECK (nodeid <> ''),
    since bigint NOT NULL,
    last bigint NOT NULL,
    set_id bigint NOT NULL,
    PRIMARY KEY (nodeid, last),
    CHECK (since <= last)
) WITHOUT ROWID;
CREATE INDEX compliance_history_last_idx ON compliance_history (last);
-- For the collection of sets that nobody names any more.
CREATE INDEX compliance_history_set_idx ON compliance_history (set_id);
