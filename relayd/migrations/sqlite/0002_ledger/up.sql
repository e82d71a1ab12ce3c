-- SPDX-License-Identifier: Apache-2.0
-- What was stored, by content: makes storing a run log twice have the effect of storing it once.
CREATE TABLE run_log (
    nodeid text NOT NULL,
    digest blob NOT NULL CHECK (length(digest) = 32),
    -- Start of the run, as in reportsexecution.
    date text NOT NULL,
    -- Name of the file it came in.
    file text NOT NULL,
    -- Rows stored in ruddersysevents, and the id of the first.
    reports integer NOT NULL,
    insertionid integer,
    stored text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),
    PRIMARY KEY (nodeid, digest)
) WITHOUT ROWID;

-- The time up to which retention has come, as a Unix time: what tells a clock that jumped from days
-- that passed (relayd/src/retention).
CREATE TABLE retention (
    single integer PRIMARY KEY CHECK (single = 1),
    reached bigint NOT NULL
);
CREATE INDEX run_log_date_idx ON run_log (date);
