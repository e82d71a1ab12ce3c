// SPDX-License-Identifier: Apache-2.0
//! Enrolment tokens: bound to a host name, used once, stored as a digest.
//!
//! The text is `<id>-<secret>`: the id, 12 hexadecimal digits, finds the row; the secret, 32 random
//! bytes in base64url, is known to nobody but whoever was given the text.

use std::time::Duration;

use diesel::QueryResult;
use openssl::{base64::encode_block, error::ErrorStack, memcmp, rand::rand_bytes, sha::sha256};
use protocol::node_id::NodeId;
use zeroize::Zeroizing;

use super::{
    change::Change,
    record::{TokenRecord, TokenState},
    row::{TOKEN_COLUMNS, TokenRow, time},
};
use crate::db::{Connection, query::Value};

/// A token that was just made: the only time its text is known.
pub struct NewToken {
    /// What is kept.
    pub record: TokenRecord,
    /// What the node must show.
    pub text: Zeroizing<String>,
}

/// Why a token does not let a node in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the enrolment token is not known; copy it again, as a whole")]
    Unknown,
    #[error("the enrolment token was used already; ask for another one")]
    Used,
    #[error("the enrolment token has expired; ask for another one")]
    Expired,
    #[error("the enrolment token was revoked; ask for another one")]
    Revoked,
    #[error("the enrolment token is for another host name")]
    OtherHost,
}

/// Tokens that were used or have expired are forgotten after this long, in seconds.
const REMEMBERED: i64 = 90 * 86_400;

const SECRET_BYTES: usize = 32;

/// Makes a token for each host name.
pub(super) fn create(
    c: &mut Connection,
    hosts: &[String],
    lifetime: Duration,
    by: &str,
    now: i64,
) -> Result<Vec<NewToken>, CreateError> {
    c.run("DELETE FROM enrolment_token WHERE expires < $1", &[Value::Int(now - REMEMBERED)])?;
    let expires = now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    let make = |host: &String| {
        let (id, secret) = (random_id()?, random_secret()?);
        let secret_hash = sha256(secret.as_bytes());
        let values = [
            Value::Text(&id),
            Value::Bytes(&secret_hash),
            Value::Text(host),
            Value::Int(now),
            Value::Text(by),
            Value::Int(expires),
        ];
        let sql = "INSERT INTO enrolment_token (id, secret_hash, host, created, created_by, expires) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        c.run(sql, &values)?;
        let text = Zeroizing::new([&id, "-", &secret].concat());
        let record = TokenRecord {
            id,
            host: host.clone(),
            state: TokenState::Usable,
            created: time(now),
            created_by: by.to_owned(),
            expires: time(expires),
            used: None,
            used_by: None,
            revoked: None,
        };
        Ok(NewToken { record, text })
    };
    hosts.iter().map(make).collect()
}

/// Why tokens could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreateError {
    #[error("database: {0}")]
    Database(#[from] diesel::result::Error),
    #[error("no random numbers: {0}")]
    Random(#[from] ErrorStack),
}

/// Whether a token would let this host in.
pub(super) fn check(
    c: &mut Connection,
    text: &str,
    hostname: &str,
    now: i64,
) -> QueryResult<Result<String, TokenError>> {
    let Some((id, secret)) = text.split_once('-') else { return Ok(Err(TokenError::Unknown)) };
    let Some(row) = find(c, id)? else { return Ok(Err(TokenError::Unknown)) };
    let secret_hash = sha256(secret.as_bytes());
    if row.secret_hash.len() != secret_hash.len() || !memcmp::eq(&row.secret_hash, &secret_hash) {
        return Ok(Err(TokenError::Unknown));
    }
    let error = match row.state(now) {
        TokenState::Used => TokenError::Used,
        TokenState::Revoked => TokenError::Revoked,
        TokenState::Expired => TokenError::Expired,
        TokenState::Usable if !same_host(&row.host, hostname) => TokenError::OtherHost,
        TokenState::Usable => return Ok(Ok(row.id)),
    };
    Ok(Err(error))
}

/// Uses a token up for a node, if it lets this host in. Returns its id.
pub(super) fn spend(
    change: &mut Change<'_>,
    text: &str,
    hostname: &str,
    node: &NodeId,
) -> QueryResult<Result<String, TokenError>> {
    let now = change.now;
    let id = match check(change.connection, text, hostname, now)? {
        Ok(id) => id,
        Err(error) => return Ok(Err(error)),
    };
    let sql = "UPDATE enrolment_token SET used = $1, used_by = $2 WHERE id = $3 AND used IS NULL";
    let values = [Value::Int(now), Value::Text(node.as_str()), Value::Text(&id)];
    // Nobody else can have used it since it was read, but twice is never.
    Ok(if change.connection.run(sql, &values)? == 1 { Ok(id) } else { Err(TokenError::Used) })
}

/// All tokens, the newest first.
pub(super) fn list(c: &mut Connection, now: i64) -> QueryResult<Vec<TokenRecord>> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM enrolment_token ORDER BY created DESC, id");
    Ok(c.rows::<TokenRow>(&sql, &[])?.into_iter().map(|row| row.record(now)).collect())
}

/// Takes a token back; returns what is known of it, or `None` if nothing is.
pub(super) fn revoke(change: &mut Change<'_>, id: &str) -> QueryResult<Option<TokenRecord>> {
    let now = change.now;
    let sql = "UPDATE enrolment_token SET revoked = $1 WHERE id = $2 AND used IS NULL AND revoked IS NULL";
    change.connection.run(sql, &[Value::Int(now), Value::Text(id)])?;
    Ok(find(change.connection, id)?.map(|row| row.record(now)))
}

fn find(c: &mut Connection, id: &str) -> QueryResult<Option<TokenRow>> {
    c.row(&format!("SELECT {TOKEN_COLUMNS} FROM enrolment_token WHERE id = $1"), &[Value::Text(id)])
}

/// Host names have no case and may end in a dot.
fn same_host(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    bare(one) == bare(other)
}

fn random_id() -> Result<String, ErrorStack> {
    let mut bytes = [0; 6];
    rand_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn random_secret() -> Result<Zeroizing<String>, ErrorStack> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    rand_bytes(&mut *bytes)?;
    let base64 = Zeroizing::new(encode_block(&*bytes));
    let url_safe = |c| match c {
        '+' => '-',
        '/' => '_',
        c => c,
    };
    // Room for all of it, so that no copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(base64.len()));
    text.extend(base64.trim_end_matches('=').chars().map(url_safe));
    Ok(text)
}
