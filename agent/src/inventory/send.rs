// SPDX-License-Identifier: Apache-2.0
//! Bringing an inventory to the policy server: first the inventory, then its signature (protocol 6.1, 6.2).

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use hyper::{Method, StatusCode};
use protocol::{node_id::NodeId, tls::ServerTrust, urls::UploadKind};
use rustix::process::Gid;

use super::{Made, door, waiting::Pair};
use crate::{
    durable::{self, Rights},
    identity::{Identity, IdentityError},
    server::{
        connection::{Ask, Connection, ConnectionError, Reply},
        succession::{self, Seen},
        target::{Target, TargetError},
        trust,
    },
    settings::{Credentials, Secret, Settings},
    state::State,
    upload::answer::{Answer, Disposition},
};

/// User and password of nodes that are not known yet, everywhere (protocol 6.2).
const FIRST: &str = "rudder";

/// What is remembered of the policy server: its node id.
const FILE: &str = "policy-server";

/// Where inventories of this node go.
pub enum PolicyServer<'a> {
    /// To another machine.
    Other(Box<Other<'a>>),
    /// This node is the root: into its own spool.
    Own(&'a Settings),
}

/// Another machine.
pub struct Other<'a> {
    settings: &'a Settings,
    kind: UploadKind,
    target: Target,
    connection: Option<Connection>,
    keys: Vec<String>,
}

impl<'a> PolicyServer<'a> {
    /// The server of the settings; nothing is connected yet.
    pub fn of(settings: &'a Settings, identity: &Identity) -> Result<Self, SendInventoryError> {
        if identity.node_id.is_root() {
            return Ok(Self::Own(settings));
        }
        let client = trust::client_identity(settings, identity)?;
        let mut target = Target::of(settings, Some(&client))?;
        let kind = door(settings);
        if kind == UploadKind::NewInventory && target.credentials.is_none() && !settings.cert_validation {
            target.credentials =
                Some(Credentials { user: FIRST.to_owned(), password: Secret::new(FIRST.to_owned()) });
        }
        Ok(Self::Other(Box::new(Other { settings, kind, target, connection: None, keys: vec![] })))
    }

    /// Its node id. When it does not answer, the one that it said last.
    pub async fn node_id(&mut self, state: &State) -> Result<NodeId, SendInventoryError> {
        let Self::Other(server) = self else { return Ok(NodeId::root()) };
        let file = state.path(FILE);
        match server.ask_id().await {
            Ok(id) => {
                durable::replace(&file, format!("{id}\n").as_bytes(), durable::PRIVATE)
                    .map_err(|e| SendInventoryError::Io(file.display().to_string(), e))?;
                Ok(id)
            }
            Err(e) => known_node_id(state).ok_or(e),
        }
    }

    /// Sends both files. What came of the first one decides whether the second is tried.
    pub async fn send(&mut self, pair: &Pair) -> Result<Made, SendInventoryError> {
        let (name, size) = (pair.name.clone(), pair.inventory.len() as u64);
        match self {
            Self::Own(settings) => {
                let spool = settings.paths.inventories.join("accepted-nodes-updates");
                deliver(&spool, &name, &pair.inventory)?;
                deliver(&spool, &pair.signature_name(), &pair.signature)?;
                Ok(Made::Sent { name, size, keys: vec![] })
            }
            Self::Other(server) => {
                server.put(&name, &pair.inventory).await?;
                server.put(&pair.signature_name(), &pair.signature).await?;
                Ok(Made::Sent { name, size, keys: std::mem::take(&mut server.keys) })
            }
        }
    }
}

/// What the policy server said of itself last.
pub fn known_node_id(state: &State) -> Option<NodeId> {
    fs::read_to_string(state.path(FILE)).ok()?.trim().parse().ok()
}

/// Puts a file into the spool of this machine's own server, which may read and remove it.
fn deliver(spool: &Path, name: &str, content: &[u8]) -> Result<(), SendInventoryError> {
    let error = |e| SendInventoryError::Io(spool.display().to_string(), e);
    let group = fs::metadata(spool).map_err(error)?.gid();
    let rights = Rights { mode: 0o640, owner: None, group: Some(Gid::from_raw(group)) };
    durable::replace_for(&spool.join(name), content, rights).map_err(error)
}

impl Other<'_> {
    async fn ask_id(&mut self) -> Result<NodeId, SendInventoryError> {
        let ask =
            Ask { method: Method::GET, path: "/uuid".into(), content_type: None, body: Default::default() };
        let reply = self.ask(&ask).await?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        match reply.status {
            StatusCode::OK => text.trim().parse().map_err(|_| SendInventoryError::NoNodeId(reply.detail())),
            _ => Err(SendInventoryError::Later(Answer::of(&reply))),
        }
    }

    async fn put(&mut self, name: &str, content: &[u8]) -> Result<(), SendInventoryError> {
        let ask = Ask {
            method: Method::PUT,
            path: self.kind.path(name),
            content_type: None,
            body: content.to_vec().into(),
        };
        let answer = Answer::of(&self.ask(&ask).await?);
        match answer.disposition() {
            Disposition::Accepted => Ok(()),
            Disposition::Rejected => Err(SendInventoryError::Refused(answer)),
            Disposition::Released | Disposition::Unavailable => Err(SendInventoryError::Later(answer)),
        }
    }

    /// Asks over the open connection, or a new one: all that is asked may be asked twice.
    async fn ask(&mut self, ask: &Ask) -> Result<Reply, SendInventoryError> {
        if let Some(open) = self.connection.as_mut().filter(|connection| connection.is_open())
            && let Ok(reply) = open.ask(&self.target, ask).await
        {
            return Ok(reply);
        }
        let open = self.connection.insert(Connection::open(&self.target).await?);
        let reply = open.ask(&self.target, ask).await?;
        let seen = Seen::new(&open.server_keys, &reply.headers);
        match succession::heed(self.settings, &self.target.trust, &seen) {
            Ok(words) => self.keys.extend(words),
            Err(e) => self.keys.push(format!("the policy server's keys cannot be followed: {e}")),
        }
        self.pin_first_use(&reply)?;
        Ok(reply)
    }

    /// The first server that answered well is the policy server from now on.
    fn pin_first_use(&mut self, reply: &Reply) -> Result<(), SendInventoryError> {
        let key = self.connection.as_ref().and_then(Connection::server_key);
        let (ServerTrust::FirstUse, true, Some(key)) = (&self.target.trust, reply.status.is_success(), key)
        else {
            return Ok(());
        };
        let is_new = succession::pin_first_use(self.settings, &key)
            .map_err(|e| SendInventoryError::Io(self.settings.paths.server_pins.display().to_string(), e))?;
        // Somebody has pinned another one meanwhile: this connection is not to be gone on with.
        if !is_new {
            self.connection = None;
            return Err(SendInventoryError::OtherPin);
        }
        self.keys.push(format!("the policy server is trusted from now on by its key {key}"));
        self.target.trust = ServerTrust::Pins(vec![key]);
        Ok(())
    }
}

/// Why an inventory was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendInventoryError {
    /// The policy server cannot be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client certificate cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server will never take it.
    #[error("the policy server refuses the inventory: it {}", .0.describe().trim_start_matches("the server "))]
    Refused(Answer),
    /// The server does not take it now.
    #[error("{}", .0.describe())]
    Later(Answer),
    /// What says which node the server is, is none.
    #[error("the policy server does not say which node it is: {0:?}")]
    NoNodeId(String),
    /// The server was pinned by another key while this one was met.
    #[error("another key of the policy server was pinned meanwhile")]
    OtherPin,
    /// A file cannot be written.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

impl SendInventoryError {
    /// Whether the same inventory would be refused again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Target(e) => e.is_configuration(),
            Self::Identity(_) => true,
            _ => false,
        }
    }

    /// Whether it will not be taken before somebody does something: a server that takes no inventories says 404.
    pub fn takes_an_operator(&self) -> bool {
        let has_no_door = matches!(self, Self::Later(answer) if answer.status == StatusCode::NOT_FOUND);
        has_no_door || self.is_refusal()
    }

    /// Not before then, as the server says.
    pub fn retry_after(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        match self {
            Self::Later(answer) => answer.retry_after,
            _ => None,
        }
    }
}
