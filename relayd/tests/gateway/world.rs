// SPDX-License-Identifier: Apache-2.0
//! A gateway in the middle of a tree, and everybody who may knock at its door.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use hyper::Response;
use protocol::{node_list::NodeList, private_key, tls::ClientIdentity};
use relayd::{
    config::{ClientTrust, Upstream, UpstreamTrust},
    gateway::{Behind, Enrolment},
    http::{
        Body, Call, Service,
        ServiceKind::{OpenApi, Policies, RemoteRun, SharedFiles, SharedFolder, Triggers},
        Services, text,
    },
    nodes::NodeTable,
    upstream::UpstreamClient,
};

use crate::{
    authority::{Authority, PLAIN, Says},
    harness::*,
};

const WRONG: &str = "Authorization: Basic cnVkZGVyOndyb25n\r\n";

/// Id, policy server, and which walker it is.
const NODES: [(&str, &str, &str); 6] = [
    ("top", "root", "the upstream"),
    ("above", "hub", "a relay above the node"),
    ("node", "above", "the node itself"),
    ("other", "above", "another node"),
    ("elsewhere", "hub", "a relay elsewhere"),
    ("revoked", "hub", "a revoked node"),
];

/// A relay in the middle of a tree, and who may knock at its door.
pub struct World {
    pub gateway: Running,
    identities: BTreeMap<&'static str, ClientIdentity>,
    files: u32,
}

/// A service for whoever was let in.
struct Welcoming;

impl Service for Welcoming {
    fn answer(&self, _: Call) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async { Response::new(text("welcome")) })
    }
}

impl World {
    /// Nodes are known by their keys.
    pub async fn new() -> Self {
        let mut identities: BTreeMap<_, _> =
            NODES.into_iter().map(|(id, _, walker)| (walker, new_identity(id))).collect();
        let key = identities["the node itself"].1.clone();
        let misnamed = private_key::self_signed(&key, &id("nobody")).unwrap();
        identities.insert("the node's key under nobody's name", (misnamed, key));
        identities.insert("a stranger's certificate", new_identity("stranger"));
        Self::with(identities, |_| ClientTrust::Key).await
    }

    /// Nodes are known by an authority; the keys of the node list are others.
    pub async fn by_authority() -> Self {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let named = |uid| Says { uid: Some(uid), ..PLAIN };
        let mut identities: BTreeMap<_, _> =
            NODES.into_iter().map(|(id, _, walker)| (walker, ours.issue(named(id)))).collect();
        identities.insert("a certified stranger", ours.issue(named("stranger")));
        identities.insert("certified without a name", ours.issue(PLAIN));
        identities.insert("named by another authority", theirs.issue(named("node")));
        let key = identities["the node itself"].1.clone();
        let own_word = private_key::self_signed(&key, &id("node")).unwrap();
        identities.insert("the node's key without the authority", (own_word, key));
        Self::with(identities, |directory| {
            ours.write(directory);
            ClientTrust::Authority { authorities: directory.join("ca.pem"), node_id: "uid".parse().unwrap() }
        })
        .await
    }

    async fn with(
        identities: BTreeMap<&'static str, ClientIdentity>,
        trust: impl FnOnce(&std::path::Path) -> ClientTrust,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        // Nothing listens there: what is let in fails, and not for want of rights.
        let upstream = Upstream {
            host: "127.0.0.1".into(),
            port: 1,
            user: "rudder".into(),
            password: None,
            default_password: String::new().into(),
            trust: UpstreamTrust::DangerousNone,
            client_identity: None,
            idle_timeout: PATIENCE,
            oldest_tls: protocol::tls::TlsVersion::V1_3,
            proxy: protocol::proxy::ProxyRule::None,
        };
        let upstream = UpstreamClient::new(&upstream, &prometheus::Registry::new()).unwrap();
        let mut services = Services::default();
        for kind in [Policies, SharedFolder, SharedFiles, RemoteRun, Triggers, OpenApi] {
            services.add(kind, Arc::new(Welcoming));
        }
        let behind = Behind {
            services,
            enrolment: Enrolment::Upstream(Arc::new(upstream)),
            newcomers_per_minute: Some(1_000_000),
            ..Behind::default()
        };
        let trust = trust(directory.path());
        let settings = |settings: &mut relayd::config::Gateway| {
            settings.basic_auth = Some(passwords());
            settings.clients = trust;
        };
        let gateway = start_as("hub", Fleet::new(), behind, directory, spool, settings).await;
        let world = Self { gateway, identities, files: 0 };
        // First with the node that is revoked, then without: what it was once must not count.
        for with_revoked in [true, false] {
            world.gateway.nodes.send_replace(world.table(with_revoked));
        }
        world
    }

    pub fn table(&self, with_revoked: bool) -> Arc<NodeTable> {
        let listed = NODES.iter().map(|(id, server, walker)| (*id, *server, &self.identities[walker]));
        let fleet = &self.gateway.fleet;
        let mut nodes = serde_json::Map::new();
        for (id, server, identity) in
            listed.chain([("hub", "top", &fleet.root), ("stray", "elsewhere", &fleet.direct)])
        {
            let hash = identity.0.key_hash().to_string();
            let entry = serde_json::json!({"hostname": id, "key-hash": hash, "policy-server": server});
            if with_revoked || id != "revoked" {
                nodes.insert(id.to_owned(), entry);
            }
        }
        let list = NodeList::from_json(&serde_json::to_vec(&nodes).unwrap()).unwrap();
        Arc::new(NodeTable::new(list, Vec::new()))
    }

    /// What this walker comes with: certificate, headers.
    pub fn walker(&self, name: &str) -> (Option<&ClientIdentity>, &'static str) {
        match name {
            "anonymous" => (None, ""),
            "the password" => (None, REGULAR),
            "the initial password" => (None, INITIAL),
            "a wrong password" => (None, WRONG),
            other => (Some(&self.identities[other]), ""),
        }
    }

    /// A path that this rule is for, about this node; each time another file.
    pub fn path(&mut self, rule: &str, node: &str) -> String {
        self.files += 1;
        let inventory = format!("{node}_2026-01-02T03:04:05+00:00-{}.ocs.gz", self.files);
        match rule.split_once('<') {
            None => rule.to_owned(),
            Some((directory, parameters)) if parameters.starts_with("node id>/<") => {
                format!("{directory}{node}/x")
            }
            Some((directory, "path>" | "file>" | "targets>" | "run>" | "question>" | "node>")) => {
                format!("{directory}x")
            }
            Some((directory, "node id>")) => format!("{directory}{node}"),
            Some(("/reports/", _)) => format!("/reports/{}", run_log(node, self.files)),
            Some((directory, "file name>")) => format!("{directory}{inventory}"),
            Some(_) => panic!("no path is known for {rule}"),
        }
    }

    pub async fn request(&self, walker: &str, method: &str, path: &str) -> Reply {
        let (identity, headers) = self.walker(walker);
        let mut client = self.gateway.connect(identity).await;
        match method {
            "PUT" => client.put(path, headers, &gzip(b"x")).await,
            _ => client.ask(method, path, headers).await,
        }
    }
}
