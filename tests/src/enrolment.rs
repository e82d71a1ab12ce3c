// SPDX-License-Identifier: Apache-2.0
//! Newcomers at the door: enrolment requests as `agent enroll` sends them, without the agent.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;
use openssl::ssl::SslConnector;
use protocol::{enrolment::Request, hash::KeyHash};

use crate::{
    Result,
    client::{self, Connection, Reply},
    identity::Identity,
};

/// Somebody who wants to be taken in.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    /// The id and the key it claims.
    pub identity: &'a Identity,
    /// Its host name.
    pub hostname: &'a str,
    /// Whether it asks to be a relay.
    pub as_relay: bool,
    /// The token it brings.
    pub token: Option<&'a str>,
}

impl<'a> Newcomer<'a> {
    /// A node without a token.
    pub fn new(identity: &'a Identity, hostname: &'a str) -> Self {
        Self { identity, hostname, as_relay: false, token: None }
    }

    /// The same with a token.
    pub fn with_token(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The request, PEM.
    pub fn request(&self) -> Result<Bytes> {
        let Identity { key, node_id, certificate } = self.identity;
        let (name, relay, token) = (self.hostname, self.as_relay, self.token);
        let request = Request::make_with(key, node_id, name, relay, token, Some(certificate))?;
        Ok(Bytes::copy_from_slice(&request))
    }

    /// Asks once, without a client certificate.
    pub fn ask(&self, address: SocketAddr, pin: &KeyHash) -> Result<Reply> {
        let connector = client::anonymous_connector(pin)?;
        let path = path(self.identity);
        client::once(address, &connector, Method::PUT, &path, &[CONTENT_TYPE], self.request()?)
    }

    /// Asks once over an open connection.
    pub async fn ask_on(&self, connection: &mut Connection) -> Result<Reply> {
        connection.send(Method::PUT, &path(self.identity), &[CONTENT_TYPE], self.request()?).await
    }
}

/// The type of a request's body.
pub const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/pkcs10");

/// Where a machine asks.
pub fn path(identity: &Identity) -> String {
    format!("/enrolments/{}", identity.node_id)
}

/// What `GET /identity` answers to whom `connector` presents.
pub fn identity_seen(address: SocketAddr, connector: &SslConnector) -> Result<Reply> {
    client::once(address, connector, Method::GET, "/identity", &[], Bytes::new())
}
