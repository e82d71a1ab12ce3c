// SPDX-License-Identifier: Apache-2.0
//! What a request asks for, by method and path.

use hyper::Method;
use protocol::{
    hash::QueueId,
    inventory_name::InventoryName,
    node_id::NodeId,
    run_id::RunLogName,
    urls::{IdentityKind, IdentityPathError, UploadKind, parse_identity_path, parse_upload_path},
};

use super::{
    answer::Refusal,
    client::Client,
    rules::{self, Listener, Purpose, Rule},
};
use crate::http::ServiceKind;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// This server's node id.
    Uuid,
    /// To take a file; the name is safe as one part of a path, but not read yet.
    Upload(UploadKind, String),
    /// To deal with the identity of this node.
    Identity(IdentityKind, NodeId),
    /// The nodes below the client.
    Tree,
    /// Who the client is.
    WhoAmI,
    /// To call a service.
    Call(CallRoute),
}

/// A request to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRoute {
    /// Which service.
    pub kind: ServiceKind,
    /// The node that the path names, where the rule has one.
    pub node: Option<NodeId>,
    /// What follows the fixed part of the path, encoded.
    pub rest: String,
}

/// The read name of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadName {
    /// Of a run log.
    RunLog(RunLogName),
    /// Of an inventory or its signature.
    Inventory(InventoryName),
}

impl Route {
    /// Finds the rule for method and path and reads the path; without a rule it is
    /// [`Refusal::NotFound`].
    pub fn parse(method: &Method, path: &str) -> Result<(&'static Rule, Self), Refusal> {
        let rule = rules::find(Listener::Gateway, method.as_str(), path).ok_or(Refusal::NotFound)?;
        let route = match rule.purpose {
            Purpose::Uuid => Self::Uuid,
            Purpose::Upload(_) => {
                let (kind, name) =
                    parse_upload_path(path).map_err(|error| Refusal::BadName(error.to_string()))?;
                Self::Upload(kind, name)
            }
            Purpose::Identity(_) => match parse_identity_path(path) {
                Ok((kind, node)) => Self::Identity(kind, node),
                Err(IdentityPathError::Other) => return Err(Refusal::NotFound),
                Err(error) => return Err(Refusal::BadName(error.to_string())),
            },
            Purpose::Tree => Self::Tree,
            Purpose::WhoAmI => Self::WhoAmI,
            Purpose::Call(kind) => Self::Call(CallRoute::parse(kind, rule, path)?),
            Purpose::Operate | Purpose::Nothing => return Err(Refusal::NotFound),
        };
        Ok((rule, route))
    }
}

impl CallRoute {
    /// Reads the path of a rule that calls this service.
    pub fn parse(kind: ServiceKind, rule: &Rule, path: &str) -> Result<Self, Refusal> {
        let rest = rule.parameter_of(path).ok_or(Refusal::NotFound)?.to_owned();
        let node = if rule.names_node() {
            let node = rest.split('/').next().unwrap_or_default();
            Some(node.parse().map_err(|_| Refusal::NotFound)?)
        } else {
            None
        };
        Ok(Self { kind, node, rest })
    }
}

impl CallRoute {
    /// What a refusal looks like: to a node, what is another's looks like what is not there.
    pub fn hidden(&self, client: &Client, refusal: Refusal) -> Refusal {
        match client {
            Client::Node(_) if self.node.is_some() => Refusal::NotFound,
            _ => refusal,
        }
    }
}

impl UploadName {
    /// Reads the name as that of an upload of this kind.
    pub fn parse(kind: UploadKind, name: &str) -> Result<Self, Refusal> {
        let bad = |error: &dyn std::error::Error| Refusal::BadName(error.to_string());
        match kind {
            UploadKind::RunLog => name.parse().map(Self::RunLog).map_err(|e| bad(&e)),
            UploadKind::NewInventory | UploadKind::InventoryUpdate => {
                name.parse().map(Self::Inventory).map_err(|e| bad(&e))
            }
        }
    }

    /// The file name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::RunLog(name) => name.as_str(),
            Self::Inventory(name) => name.as_str(),
        }
    }

    /// The id in log lines.
    pub fn queue_id(&self) -> QueueId {
        QueueId::of_file_name(self.as_str())
    }

    /// Whether the content must be gzip.
    pub fn is_gzip(&self) -> bool {
        self.as_str().ends_with(".gz")
    }

    /// Whether the file is `node`'s own.
    pub fn names(&self, node: &NodeId) -> bool {
        match self {
            Self::RunLog(name) => name.run_id().node_id == *node,
            Self::Inventory(name) => name.names(node),
        }
    }

    /// The node whose file it is, as far as the name says.
    pub fn node_id(&self) -> Option<NodeId> {
        match self {
            Self::RunLog(name) => Some(name.run_id().node_id.clone()),
            Self::Inventory(name) => name.node_id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_routes_and_no_others() {
        let parse = |method: &Method, path: &str| Route::parse(method, path).map(|(_, route)| route);
        let put = |path| parse(&Method::PUT, path);
        let upload = |kind, name: &str| Ok(Route::Upload(kind, name.to_owned()));
        assert_eq!(put("/reports/a.log"), upload(UploadKind::RunLog, "a.log"));
        assert_eq!(put("//reports/a%40b.log"), upload(UploadKind::RunLog, "a@b.log"));
        assert_eq!(put("/inventory-updates/a.ocs"), upload(UploadKind::InventoryUpdate, "a.ocs"));
        for (method, path) in [
            (Method::GET, "/reports/a.log"),
            (Method::DELETE, "/reports/a.log"),
            (Method::PUT, "/uuid"),
            (Method::POST, "/uuid"),
            (Method::PUT, "/"),
            (Method::PUT, "*"),
            (Method::GET, "/uuid/"),
            (Method::PUT, "/Reports/a.log"),
        ] {
            assert_eq!(parse(&method, path), Err(Refusal::NotFound), "{method} {path}");
        }
        for path in
            ["/reports/", "/reports/../a.log", "/reports/%2e%2e", "/reports/a%2fb.log", "/reports/%00"]
        {
            assert!(matches!(put(path), Err(Refusal::BadName(_))), "{path}");
        }
        assert_eq!(parse(&Method::HEAD, "/uuid"), Ok(Route::Uuid));
    }
}
