-- SPDX-License-Identifier: Apache-2.0
-- The registry of nodes (protocol 13). All times are Unix times in seconds, so that the same queries
-- read both kinds of database; datetime(…, 'unixepoch') shows them. Key hashes are texts such as sha256//….

-- One row. Every change of the registry first counts `version` up, which makes writers wait for each
-- other; changed nodes carry the version. `purged` is the version of the last removal of a node.
CREATE TABLE node_registry (
    single integer PRIMARY KEY CHECK (single = 1),
    version bigint NOT NULL,
    purged bigint NOT NULL,
    -- Who says which nodes there are, as far as that has come into force; null: nobody has yet.
    source text CHECK (source IN ('files', 'database'))
);
INSERT INTO node_registry (single, version, purged) VALUES (1, 1, 1);

CREATE TABLE node (
    nodeid text PRIMARY KEY CHECK (nodeid <> ''),
    hostname text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'accepted', 'rejected', 'revoked')),
    role text NOT NULL CHECK (role IN ('node', 'relay')),
    -- The node to which it connects.
    policy_server text NOT NULL CHECK (policy_server <> ''),
    requested bigint NOT NULL,
    decided bigint,
    decided_by text,
    last_contact bigint,
    -- Network address of the last contact.
    address text,
    version bigint NOT NULL
);
CREATE INDEX node_version_idx ON node (version);
CREATE INDEX node_state_idx ON node (state);
CREATE INDEX node_policy_server_idx ON node (policy_server);

CREATE TABLE node_key (
    nodeid text NOT NULL,
    key_hash text NOT NULL,
    -- DER SubjectPublicKeyInfo; null when only its hash is known.
    spki blob,
    added bigint NOT NULL,
    -- Null: current. Else the end of the time in which it is valid beside its successor.
    valid_until bigint,
    -- Keys of the root: when one was first found in its files; null: it is only announced.
    found bigint,
    PRIMARY KEY (nodeid, key_hash)
);
CREATE INDEX node_key_hash_idx ON node_key (key_hash);

CREATE TABLE node_certificate (
    nodeid text NOT NULL,
    -- SHA-256 of the DER, hexadecimal.
    fingerprint text NOT NULL,
    key_hash text NOT NULL,
    pem text NOT NULL,
    not_before bigint NOT NULL,
    not_after bigint NOT NULL,
    -- `node`: its own; `authority`: issued by the built-in authority; `node list`: from a bundle file.
    source text NOT NULL,
    PRIMARY KEY (nodeid, fingerprint)
);
CREATE INDEX node_certificate_not_after_idx ON node_certificate (not_after);

CREATE TABLE node_conflict (
    id integer PRIMARY KEY AUTOINCREMENT,
    nodeid text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('other_key', 'other_id', 'clone', 'rollback')),
    key_hash text,
    address text,
    detail text NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    count bigint NOT NULL,
    resolved bigint,
    resolved_by text
);
CREATE INDEX node_conflict_nodeid_idx ON node_conflict (nodeid);
CREATE INDEX node_conflict_open_idx ON node_conflict (kind) WHERE resolved IS NULL;

CREATE TABLE enrolment_token (
    id text PRIMARY KEY,
    -- SHA-256 of the secret.
    secret_hash blob NOT NULL CHECK (length(secret_hash) = 32),
    host text NOT NULL,
    created bigint NOT NULL,
    created_by text NOT NULL,
    expires bigint NOT NULL,
    used bigint,
    used_by text,
    revoked bigint
);

-- What tells a clone from a reboot; see relayd/src/registry/clones.rs.
CREATE TABLE node_instance (
    nodeid text PRIMARY KEY,
    state text NOT NULL
);
