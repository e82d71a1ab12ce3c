// SPDX-License-Identifier: Apache-2.0
//! Changes of the registry: each in a transaction that counts the version up first.
//!
//! The row of the version is what writers wait for, the service of this and of other roots and the
//! command line alike: what a change reads stays true until it is committed, and versions are
//! committed in their order, so that who reads changes by version misses none.

use diesel::QueryResult;
use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId};

use super::record::{ConflictKind, NodeState, Role};
use crate::db::{Connection, query::Value};

/// A transaction that changes the registry.
pub(super) struct Change<'a> {
    pub(super) connection: &'a mut Connection,
    /// Goes into each changed row of `node`.
    version: i64,
    /// Unix time, in seconds.
    pub(super) now: i64,
}

/// A node to add.
pub(super) struct NewNode<'a> {
    pub(super) node_id: &'a NodeId,
    pub(super) hostname: &'a str,
    pub(super) state: NodeState,
    pub(super) role: Role,
    pub(super) policy_server: &'a NodeId,
    pub(super) decided_by: Option<&'a str>,
    pub(super) address: Option<&'a str>,
}

/// What there is to say of a conflict.
pub(super) struct NewConflict<'a> {
    pub(super) node_id: &'a NodeId,
    pub(super) kind: ConflictKind,
    pub(super) key_hash: Option<&'a KeyHash>,
    pub(super) address: Option<&'a str>,
    pub(super) detail: &'a str,
}

/// Open conflicts of one kind that are kept per node: who makes ever new keys makes no more rows.
const MOST_CONFLICTS: i64 = 20;

/// Certificates of one source that are kept per node: the newest.
pub(super) const MOST_CERTIFICATES: usize = 16;

/// Makes changes in one transaction.
pub(super) fn change<T, E: From<diesel::result::Error>>(
    connection: &mut Connection,
    now: i64,
    work: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
) -> Result<T, E> {
    connection.transaction(|connection| {
        let count = "UPDATE node_registry SET version = version + 1 RETURNING version AS number";
        let version = connection.number(count, &[])?;
        work(&mut Change { connection, version, now })
    })
}

/// Waits for other writers as [`change`] does, for work that changes nothing others must know of.
pub(super) fn exclusively<T, E: From<diesel::result::Error>>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.transaction(|connection| {
        connection.run("UPDATE node_registry SET version = version", &[])?;
        work(connection)
    })
}

impl Change<'_> {
    pub(super) fn add_node(&mut self, new: &NewNode<'_>) -> QueryResult<()> {
        let decided = new.decided_by.map(|_| self.now);
        let values = [
            Value::Text(new.node_id.as_str()),
            Value::Text(new.hostname),
            Value::Text(new.state.as_str()),
            Value::Text(new.role.as_str()),
            Value::Text(new.policy_server.as_str()),
            Value::Int(self.now),
            Value::MaybeInt(decided),
            Value::MaybeText(new.decided_by),
            Value::MaybeText(new.address),
            Value::Int(self.version),
        ];
        let sql = "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, decided, \
                   decided_by, address, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        self.connection.run(sql, &values).map(drop)
    }

    /// Says who decided what about a node.
    pub(super) fn decide(&mut self, id: &NodeId, state: NodeState, role: Role, by: &str) -> QueryResult<()> {
        let sql = "UPDATE node SET state = $1, role = $2, decided = $3, decided_by = $4, version = $5 \
                   WHERE nodeid = $6";
        let values = [
            Value::Text(state.as_str()),
            Value::Text(role.as_str()),
            Value::Int(self.now),
            Value::Text(by),
            Value::Int(self.version),
            Value::Text(id.as_str()),
        ];
        self.connection.run(sql, &values).map(drop)
    }

    /// What a node says of itself and where it hangs.
    pub(super) fn describe(&mut self, id: &NodeId, hostname: &str, server: &NodeId) -> QueryResult<()> {
        let sql = "UPDATE node SET hostname = $1, policy_server = $2, version = $3 WHERE nodeid = $4";
        let values = [
            Value::Text(hostname),
            Value::Text(server.as_str()),
            Value::Int(self.version),
            Value::Text(id.as_str()),
        ];
        self.connection.run(sql, &values).map(drop)
    }

    /// Marks a node as changed whose keys or certificates did.
    pub(super) fn touch(&mut self, id: &NodeId) -> QueryResult<()> {
        let values = [Value::Int(self.version), Value::Text(id.as_str())];
        self.connection.run("UPDATE node SET version = $1 WHERE nodeid = $2", &values).map(drop)
    }

    /// Adds the current key of a node; its row must be marked as changed besides.
    pub(super) fn add_key(&mut self, id: &NodeId, hash: &KeyHash, spki: Option<&[u8]>) -> QueryResult<()> {
        self.add_key_of(id, hash, spki, self.now, None)
    }

    /// The same of a key that has been the node's since `added`, and is until `valid_until`.
    pub(super) fn add_key_of(
        &mut self,
        id: &NodeId,
        hash: &KeyHash,
        spki: Option<&[u8]>,
        added: i64,
        valid_until: Option<i64>,
    ) -> QueryResult<()> {
        let hash = hash.to_string();
        let values = [
            Value::Text(id.as_str()),
            Value::Text(&hash),
            Value::MaybeBytes(spki),
            Value::Int(added),
            Value::MaybeInt(valid_until),
        ];
        let sql = "INSERT INTO node_key (nodeid, key_hash, spki, added, valid_until) \
                   VALUES ($1, $2, $3, $4, $5)";
        self.connection.run(sql, &values).map(drop)
    }

    /// Says that a key of the root is in its files; returns whether it is so for the first time.
    pub(super) fn key_found(&mut self, id: &NodeId, hash: &str) -> QueryResult<bool> {
        let values = [Value::Int(self.now), Value::Text(id.as_str()), Value::Text(hash)];
        let sql = "UPDATE node_key SET found = $1 WHERE nodeid = $2 AND key_hash = $3 AND found IS NULL";
        self.connection.run(sql, &values).map(|rows| rows > 0)
    }

    /// Keeps the key itself of which only the hash was known; returns whether it was so. Its row must be
    /// marked as changed besides.
    pub(super) fn complete_key(&mut self, id: &NodeId, hash: &KeyHash, spki: &[u8]) -> QueryResult<bool> {
        let hash = hash.to_string();
        let values = [Value::Bytes(spki), Value::Text(id.as_str()), Value::Text(&hash)];
        let sql = "UPDATE node_key SET spki = $1 WHERE nodeid = $2 AND key_hash = $3 AND spki IS NULL";
        Ok(self.connection.run(sql, &values)? > 0)
    }

    /// Says when a key ends, or that it is current.
    pub(super) fn end_key(&mut self, id: &NodeId, hash: &str, end: Option<i64>) -> QueryResult<()> {
        let values = [Value::MaybeInt(end), Value::Text(id.as_str()), Value::Text(hash)];
        let sql = "UPDATE node_key SET valid_until = $1 WHERE nodeid = $2 AND key_hash = $3";
        self.connection.run(sql, &values).map(drop)
    }

    /// Lets all current keys of a node but one end at `end`.
    pub(super) fn retire_keys(&mut self, id: &NodeId, but: &KeyHash, end: i64) -> QueryResult<()> {
        let but = but.to_string();
        let values = [Value::Int(end), Value::Text(id.as_str()), Value::Text(&but)];
        let sql = "UPDATE node_key SET valid_until = $1 \
                   WHERE nodeid = $2 AND key_hash <> $3 AND valid_until IS NULL";
        self.connection.run(sql, &values).map(drop)
    }

    /// Adds a certificate unless it is there; returns whether it was not.
    pub(super) fn add_certificate(
        &mut self,
        id: &NodeId,
        certificate: &Certificate,
        source: &str,
    ) -> QueryResult<bool> {
        let fingerprint = hex::encode(certificate.fingerprint());
        let hash = certificate.key_hash().to_string();
        let pem = certificate.to_pem();
        let values = [
            Value::Text(id.as_str()),
            Value::Text(&fingerprint),
            Value::Text(&hash),
            // PEM is ASCII.
            Value::Text(std::str::from_utf8(&pem).unwrap_or_default()),
            Value::Int(certificate.not_before().timestamp()),
            Value::Int(certificate.not_after().timestamp()),
            Value::Text(source),
        ];
        let sql = "INSERT INTO node_certificate \
                   (nodeid, fingerprint, key_hash, pem, not_before, not_after, source) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
        let is_new = self.connection.run(sql, &values)? > 0;
        if is_new {
            self.forget_surplus_certificates(id, source)?;
        }
        Ok(is_new)
    }

    /// Whoever has a key can make any number of certificates for it.
    fn forget_surplus_certificates(&mut self, id: &NodeId, source: &str) -> QueryResult<()> {
        let sql = "DELETE FROM node_certificate WHERE nodeid = $1 AND source = $2 AND fingerprint NOT IN \
                   (SELECT fingerprint FROM node_certificate WHERE nodeid = $1 AND source = $2 \
                    ORDER BY not_before DESC, fingerprint LIMIT $3)";
        let most = i64::try_from(MOST_CERTIFICATES).unwrap_or(i64::MAX);
        let values = [Value::Text(id.as_str()), Value::Text(source), Value::Int(most)];
        self.connection.run(sql, &values).map(drop)
    }

    /// Forgets the certificates of one source but these.
    pub(super) fn keep_certificates(
        &mut self,
        id: &NodeId,
        kept: &[&Certificate],
        source: &str,
    ) -> QueryResult<()> {
        // Nothing but digits between the quotes.
        let kept: Vec<_> = kept.iter().map(|one| format!("'{}'", hex::encode(one.fingerprint()))).collect();
        let mut sql = "DELETE FROM node_certificate WHERE nodeid = $1 AND source = $2".to_owned();
        if !kept.is_empty() {
            sql.push_str(&format!(" AND fingerprint NOT IN ({})", kept.join(", ")));
        }
        self.connection.run(&sql, &[Value::Text(id.as_str()), Value::Text(source)]).map(drop)
    }

    /// Removes a node that was never accepted, and all that belongs to it: nobody has it in memory.
    /// What it was is history, if anybody ever decided about it.
    pub(super) fn forget(&mut self, id: &str) -> QueryResult<()> {
        let inventory = "INSERT INTO inventory_history (nodeid, since, last, facts_id, chunks) \
                         SELECT nodeid, since, made, facts_id, chunks FROM inventory WHERE nodeid = $1 AND EXISTS \
                         (SELECT 1 FROM node n WHERE n.nodeid = inventory.nodeid AND n.decided IS NOT NULL) \
                         ON CONFLICT (nodeid, last) DO NOTHING";
        self.connection.run(inventory, &[Value::Text(id)])?;
        let tables = ["inventory", "node_key", "node_certificate", "node_conflict", "node_instance", "node"];
        tables.iter().try_for_each(|table| {
            let sql = format!("DELETE FROM {table} WHERE nodeid = $1");
            self.connection.run(&sql, &[Value::Text(id)]).map(drop)
        })
    }

    /// Removes a node and all that belongs to it; its id is free again.
    pub(super) fn delete(&mut self, id: &NodeId) -> QueryResult<()> {
        self.forget(id.as_str())?;
        self.connection.run("UPDATE node_registry SET purged = $1", &[Value::Int(self.version)]).map(drop)
    }
}

/// Notes a conflict, or that it happened again.
pub(super) fn note_conflict(c: &mut Connection, now: i64, new: &NewConflict<'_>) -> QueryResult<()> {
    let hash = new.key_hash.map(KeyHash::to_string);
    let (id, kind) = (Value::Text(new.node_id.as_str()), Value::Text(new.kind.as_str()));
    let again = "UPDATE node_conflict SET last_seen = $1, count = count + 1, address = $2, detail = $3 \
                 WHERE nodeid = $4 AND kind = $5 AND resolved IS NULL";
    let seen = [Value::Int(now), Value::MaybeText(new.address), Value::Text(new.detail), id, kind];
    let same = match &hash {
        Some(hash) => {
            let values = [&seen[..], &[Value::Text(hash)]].concat();
            c.run(&format!("{again} AND key_hash = $6"), &values)?
        }
        None => c.run(&format!("{again} AND key_hash IS NULL"), &seen)?,
    };
    if same > 0 {
        return Ok(());
    }
    let open = "SELECT count(*) AS number FROM node_conflict \
                WHERE nodeid = $1 AND kind = $2 AND resolved IS NULL";
    if c.number(open, &[id, kind])? >= MOST_CONFLICTS {
        let newest = "id = (SELECT max(id) FROM node_conflict WHERE nodeid = $4 AND kind = $5)";
        return c.run(&format!("{again} AND {newest}"), &seen).map(drop);
    }
    let values = [
        id,
        kind,
        Value::MaybeText(hash.as_deref()),
        Value::MaybeText(new.address),
        Value::Text(new.detail),
        Value::Int(now),
        Value::Int(now),
    ];
    let sql = "INSERT INTO node_conflict \
               (nodeid, kind, key_hash, address, detail, first_seen, last_seen, count) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, 1)";
    c.run(sql, &values).map(drop)
}
