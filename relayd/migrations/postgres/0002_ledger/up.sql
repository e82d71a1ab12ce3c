-- SPDX-License-Identifier: Apache-2.0
-- What was stored, by content: makes storing a run log twice have the effect of storing it once. The
-- same content has the same start, so that the key with it is as strong as without.
CREATE TABLE run_log (
    nodeid text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- Start of the run, as in reportsexecution.
    date timestamp with time zone NOT NULL,
    -- Name of the file it came in.
    file text NOT NULL,
    -- Rows stored in ruddersysevents, and the id of the first; null when another daemon stored them.
    reports integer NOT NULL,
    insertionid bigint,
    stored timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (nodeid, date, digest)
) PARTITION BY RANGE (date);
CREATE TABLE run_log_default PARTITION OF run_log DEFAULT;

-- The time up to which retention has come, as a Unix time: what tells a clock that jumped from days
-- that passed (relayd/src/retention).
CREATE TABLE retention (
    single integer PRIMARY KEY CHECK (single = 1),
    reached bigint NOT NULL
);
