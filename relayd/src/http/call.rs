// SPDX-License-Identifier: Apache-2.0
//! A request on its way to the service that answers it.

use std::{collections::HashMap, fmt, net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use hyper::{HeaderMap, Method, Response};
use protocol::node_id::NodeId;
use tokio_util::sync::CancellationToken;

use super::{Body, RequestBody};

/// Services that answer on the gateway, the local API, or both. Which requests go to which is in the
/// rule table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// Policies of nodes, and what is common to all (protocol 8).
    Policies,
    /// Files of this server for all nodes (protocol 7.5).
    SharedFolder,
    /// Files from node to node (protocol 7.4).
    SharedFiles,
    /// Remote runs, both versions (protocol 7.6).
    RemoteRun,
    /// What tells nodes that they should run, and takes what they answer.
    Triggers,
    /// The state of the fleet (protocol 18).
    Fleet,
    /// The description of the API.
    OpenApi,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on the local API, who may do anything there.
    Operator,
    /// A node, by its key. That it may call, the rule table has said.
    Node(NodeId),
    /// Somebody unknown, where the rule table lets such in.
    Anonymous(SocketAddr),
}

/// A request that may be made, for the service that answers it.
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// Method, one of those of the rule.
    pub method: Method,
    /// The whole path as it stands in the request line, a doubled slash in front as one.
    pub path: String,
    /// What follows the fixed part of the rule's path, still percent-encoded, unchecked but for a node
    /// id at its start where the rule names one.
    pub rest: String,
    /// The query, still encoded.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, unread.
    pub body: RequestBody,
    /// Whoever waits for something ends its answer when this is cancelled.
    pub stop: CancellationToken,
}

/// Answers calls.
pub trait Service: Send + Sync {
    /// Answers one. Dropping the future, or the body of the answer, means that the client is gone.
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>>;
}

/// The services that there are; a call to another gets 404.
#[derive(Clone, Default)]
pub struct Services(HashMap<ServiceKind, Arc<dyn Service>>);

impl Services {
    /// Adds one.
    pub fn add(&mut self, kind: ServiceKind, service: Arc<dyn Service>) {
        self.0.insert(kind, service);
    }

    /// The service of this kind.
    pub fn get(&self, kind: ServiceKind) -> Option<&Arc<dyn Service>> {
        self.0.get(&kind)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
