// SPDX-License-Identifier: Apache-2.0
//! Several requests in a row over one kept-alive connection, which is opened when it is needed and again when the
//! server has closed it.

use chrono::Utc;
use hyper::{HeaderMap, Method, header};
use protocol::{hash::KeyHash, tls::ServerTrust, triggers::News};

use super::{
    connection::{Body, Connection, ConnectionError, empty},
    download::Download,
    succession::{self, Seen},
    target::Target,
};
use crate::{
    settings::Settings,
    state::State,
    triggers::{
        ask::{Answered, ask},
        book::Book,
    },
};

/// A conversation with the policy server.
pub struct Session<'a> {
    settings: &'a Settings,
    target: Target,
    connection: Option<Connection>,
    /// How the server's keys have changed, in words.
    pub keys: Vec<String>,
}

impl<'a> Session<'a> {
    /// Connects with the first request.
    pub fn new(settings: &'a Settings, target: Target) -> Self {
        Self { settings, target, connection: None, keys: vec![] }
    }

    /// Asks for something; `unless` is the entity tag of what is there already (RFC 9110 13.1.2). Asking twice is
    /// harmless, so a connection that broke while it was idle is replaced.
    pub async fn get(&mut self, path: &str, unless: Option<&str>) -> Result<Download, ConnectionError> {
        let mut headers = HeaderMap::new();
        if let Some(tag) = unless.and_then(|tag| tag.parse().ok()) {
            headers.insert(header::IF_NONE_MATCH, tag);
        }
        self.send(Method::GET, path, headers).await
    }

    /// Sends a request without body that may be repeated.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Download, ConnectionError> {
        if let Some(open) = self.connection.as_mut().filter(|connection| connection.is_open())
            && let Ok(answer) = open.begin(&self.target, method.clone(), path, headers.clone(), empty()).await
        {
            return Ok(answer);
        }
        let open = self.connection.insert(Connection::open(&self.target).await?);
        if let (Some(address), Ok(state)) = (open.own_address, State::open(&self.settings.paths.state)) {
            state.note_address(address);
        }
        let answer = open.begin(&self.target, method, path, headers, empty()).await?;
        let seen = Seen::new(&open.server_keys, &answer.headers);
        match succession::heed(self.settings, &self.target.trust, &seen) {
            Ok(words) => self.keys.extend(words),
            Err(e) => self.keys.push(format!("the policy server's keys cannot be followed: {e}")),
        }
        Ok(answer)
    }

    /// Sends a body that may be a stream. It cannot be sent twice, so the connection is a new one, which has not
    /// been idle.
    pub async fn upload(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Download, ConnectionError> {
        let open = self.connection.insert(Connection::open(&self.target).await?);
        open.begin(&self.target, method, path, headers, body).await
    }

    /// Asks whether runs wait for this node (protocol 16.3), over the connection that is there. Nothing is heard from
    /// a server that is not known by its key or authority, and nothing while the daemon keeps a connection.
    pub async fn news(&mut self) -> Option<News> {
        let is_known = !matches!(self.target.trust, ServerTrust::FirstUse);
        let open = self.connection.as_mut().filter(|open| is_known && open.is_open())?;
        let state = State::open(&self.settings.paths.state).ok()?;
        drop(state.lock_connected().ok()?);
        let known = Book::of(&state).known(Utc::now());
        match ask(open, &self.target, &known, None).await {
            Ok((Answered::News(news), _)) => Some(news),
            _ => None,
        }
    }

    /// Key of the server that answered.
    pub fn server_key(&self) -> Option<KeyHash> {
        self.connection.as_ref().and_then(Connection::server_key)
    }
}
