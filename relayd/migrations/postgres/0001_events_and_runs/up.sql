-- SPDX-License-Identifier: Apache-2.0
-- Tables that existing readers know (protocol 4.1, 4.2). A database made by an existing server has
-- them already, with rows in them: then nothing is touched, not even a missing index.
DO $$
BEGIN
    IF to_regclass('ruddersysevents') IS NULL THEN
        IF to_regclass('serial') IS NULL THEN
            CREATE SEQUENCE serial START 101;
        END IF;
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
        CREATE INDEX endrun_control_idx ON ruddersysevents (id)
            WHERE eventtype = 'control' AND component = 'end';
        CREATE INDEX changes_executiontimestamp_idx ON ruddersysevents (executiontimestamp)
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
        );
        CREATE INDEX reportsexecution_date_idx ON reportsexecution (date);
        CREATE INDEX reportsexecution_nodeid_nodeconfigid_idx ON reportsexecution (nodeid, nodeconfigid);
        CREATE INDEX reportsexecution_uncomputedrun_idx ON reportsexecution (compliancecomputationdate)
            WHERE compliancecomputationdate IS NULL;
    END IF;
END
$$;
