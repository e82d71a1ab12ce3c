-- SPDX-License-Identifier: Apache-2.0
-- Tables that existing readers know (protocol 4.1, 4.2). A database made by an existing server has
-- them already, with rows in them: then nothing is touched, not even a missing index, and old rows
-- are left to that server. Those that are made here are partitioned by the day of the run (UTC), so
-- that old days can be dropped (protocol 4.6, ADR 25). The partitions of days are made by
-- relayd/src/retention; the default ones take what has no day of its own.
DO $$
BEGIN
    IF to_regclass('ruddersysevents') IS NULL THEN
        IF to_regclass('serial') IS NULL THEN
            CREATE SEQUENCE serial START 101;
        END IF;
        -- No primary key: it could not be on the id alone. The sequence gives each id once.
        CREATE TABLE ruddersysevents (
            id bigint NOT NULL DEFAULT nextval('serial'),
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
        ) PARTITION BY LIST (eventtype);
        -- Information attached to results (protocol 3.5), which is not kept for as long.
        CREATE TABLE ruddersysevents_detail PARTITION OF ruddersysevents FOR VALUES IN
            ('log_trace', 'log_debug', 'log_info', 'log_inform', 'log_warn', 'log_warning', 'log_repaired')
            PARTITION BY RANGE (executiontimestamp);
        CREATE TABLE ruddersysevents_result PARTITION OF ruddersysevents DEFAULT
            PARTITION BY RANGE (executiontimestamp);
        CREATE TABLE ruddersysevents_detail_default PARTITION OF ruddersysevents_detail DEFAULT;
        CREATE TABLE ruddersysevents_result_default PARTITION OF ruddersysevents_result DEFAULT;

        CREATE INDEX composite_node_execution_idx ON ruddersysevents (nodeid, executiontimestamp);
        -- Rows come in the order of their ids and nearly in that of their runs: a summary of each few
        -- pages finds a range of either, and costs nearly nothing to keep.
        CREATE INDEX ruddersysevents_order_idx ON ruddersysevents USING brin (id, executiontimestamp)
            WITH (pages_per_range = 32, autosummarize = on);
        CREATE INDEX endrun_control_idx ON ruddersysevents_result (id)
            WHERE eventtype = 'control' AND component = 'end';
        CREATE INDEX changes_executiontimestamp_idx ON ruddersysevents_result (executiontimestamp)
            WHERE eventtype = 'result_repaired';
    END IF;

    IF to_regclass('reportsexecution') IS NULL THEN
        CREATE TABLE reportsexecution (
            nodeid text NOT NULL,
            date timestamp with time zone NOT NULL,
            nodeconfigid text,
            insertionid bigint,
            insertiondate timestamp with time zone DEFAULT now(),
            compliancecomputationdate timestamp with time zone,
            PRIMARY KEY (nodeid, date)
        ) PARTITION BY RANGE (date);
        CREATE TABLE reportsexecution_default PARTITION OF reportsexecution DEFAULT;
        CREATE INDEX reportsexecution_date_idx ON reportsexecution (date);
        CREATE INDEX reportsexecution_uncomputedrun_idx ON reportsexecution (compliancecomputationdate)
            WHERE compliancecomputationdate IS NULL;
    END IF;
END
$$;
