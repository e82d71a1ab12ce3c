-- SPDX-License-Identifier: Apache-2.0
-- Inventories of nodes (protocol 19). All times are Unix times in seconds, as in the registry of nodes.
--
-- What many nodes have in common is kept once and found by the SHA-256 of what it says: a package, the
-- packages of one bucket (a chunk), all facts, all updates on offer. Nothing in these four tables is ever
-- changed; what nobody names any more is removed by relayd.

-- The newest inventory of each node.
CREATE TABLE inventory (
    nodeid text PRIMARY KEY CHECK (nodeid <> ''),
    -- When it came, and when it was made.
    received bigint NOT NULL,
    made bigint NOT NULL,
    -- When the oldest inventory in a row with these facts and packages was made.
    since bigint NOT NULL,
    -- SHA-256 of the document that was signed.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    agent text NOT NULL,
    agent_version text NOT NULL,
    hostname text NOT NULL,
    os_name text NOT NULL,
    os_version text NOT NULL,
    os_full_name text NOT NULL,
    arch text NOT NULL,
    kernel text NOT NULL,
    facts_id bigint NOT NULL,
    -- Null: it lists no updates.
    updates_id bigint,
    -- What is different each time: processes, environment, free space; gzip of JSON.
    volatile bytea,
    -- 64 ids of package_chunk, separated by commas: that of bucket 0 first; 0: no package.
    chunks text NOT NULL
) WITH (fillfactor = 80);
-- It is compressed already.
ALTER TABLE inventory ALTER COLUMN volatile SET STORAGE EXTERNAL;

-- What facts_id names: gzip of JSON.
CREATE TABLE inventory_facts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    content bytea NOT NULL
);
ALTER TABLE inventory_facts ALTER COLUMN content SET STORAGE EXTERNAL;

-- What updates_id names: gzip of a JSON array.
CREATE TABLE inventory_updates (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    content bytea NOT NULL
);
ALTER TABLE inventory_updates ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE package (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    name text NOT NULL,
    version text NOT NULL,
    arch text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('dpkg', 'rpm', 'windows', 'other')),
    publisher text NOT NULL,
    -- The source package of which it was built, where that has another name or version.
    source text,
    source_version text
);
-- Serves equality and prefixes in any locale.
CREATE INDEX package_name_idx ON package (name text_pattern_ops);

CREATE TABLE package_chunk (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    bucket smallint NOT NULL CHECK (bucket BETWEEN 0 AND 63),
    -- Ids of package, ascending, separated by commas.
    packages text NOT NULL
);
CREATE INDEX package_chunk_bucket_idx ON package_chunk (bucket);

-- Former facts and packages of nodes: `last` is when the last inventory with them was made.
CREATE TABLE inventory_history (
    nodeid text NOT NULL CHECK (nodeid <> ''),
    since bigint NOT NULL,
    last bigint NOT NULL,
    facts_id bigint NOT NULL,
    chunks text NOT NULL,
    PRIMARY KEY (nodeid, last)
);
CREATE INDEX inventory_history_last_idx ON inventory_history (last);
