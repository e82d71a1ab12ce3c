// SPDX-License-Identifier: Apache-2.0
//! The rows.

use super::{Listener, Purpose, Rule, Who};
use crate::http::ServiceKind::{
    self, Fleet, OpenApi, Policies, RemoteRun, SharedFiles, SharedFolder, Triggers,
};
use protocol::urls::{IdentityKind, UploadKind};

/// All routes. A path has one rule.
pub const RULES: &[Rule] = &[
    Rule {
        listener: Listener::Gateway,
        methods: &["GET", "HEAD"],
        path: "/uuid",
        who: &[Who::Visitor],
        purpose: Purpose::Uuid,
        meaning: "the node id of this server",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/reports/<file name>",
        who: &[Who::NodeNamed, Who::RelayAbove, Who::PasswordForListed],
        purpose: Purpose::Upload(UploadKind::RunLog),
        meaning: "upload a run log",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/inventories/<file name>",
        who: &[Who::NodeNamed, Who::RelayAbove, Who::NodeForNewcomer, Who::Password],
        purpose: Purpose::Upload(UploadKind::NewInventory),
        meaning: "upload the inventory of a node that is not accepted yet",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/inventory-updates/<file name>",
        who: &[Who::NodeNamed, Who::RelayAbove, Who::Password],
        purpose: Purpose::Upload(UploadKind::InventoryUpdate),
        meaning: "upload the inventory of an accepted node",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/enrolments/<node id>",
        who: &[Who::Anyone],
        purpose: Purpose::Identity(IdentityKind::Enrolment),
        meaning: "ask to be accepted as a node; the request is signed with the key of the node",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/keys/<node id>",
        who: &[Who::NodeNamed, Who::RelayAbove],
        purpose: Purpose::Identity(IdentityKind::Keys),
        meaning: "replace the key of a node; the request is signed with the present one",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["PUT"],
        path: "/certificates/<node id>",
        who: &[Who::NodeNamed, Who::RelayAbove],
        purpose: Purpose::Identity(IdentityKind::Certificates),
        meaning: "get a certificate from the built-in authority",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["GET"],
        path: "/nodes",
        who: &[Who::AnyNode],
        purpose: Purpose::Tree,
        meaning: "the nodes below the client",
    },
    Rule {
        listener: Listener::Gateway,
        methods: &["GET"],
        path: "/identity",
        who: &[Who::AnyNode, Who::Upstream],
        purpose: Purpose::WhoAmI,
        meaning: "who the client is for this server",
    },
    call(GET, "/policies/<node id>/<path>", OF_NODE, Policies, "policies of a node"),
    call(GET, "/common/<path>", &[Who::AnyNode], Policies, "policies that are common to all nodes"),
    call(GET, "/rudder/relay-api/shared-folder/<path>", &[Who::AnyNode], SharedFolder, FOLDER),
    call(GET, "/rudder/relay-api/1/shared-folder/<path>", &[Who::AnyNode], SharedFolder, FOLDER),
    call(&["HEAD", "PUT"], "/rudder/relay-api/shared-files/<file>", &[Who::Visitor], SharedFiles, FILES),
    call(&["HEAD", "PUT"], "/rudder/relay-api/1/shared-files/<file>", &[Who::Visitor], SharedFiles, FILES),
    call(&["GET"], "/rudder/relay-api/shared-files/<node id>/<file>", OF_NODE, SharedFiles, FETCH),
    call(&["GET"], "/rudder/relay-api/1/shared-files/<node id>/<file>", OF_NODE, SharedFiles, FETCH),
    call(&["POST"], "/rudder/relay-api/remote-run/<targets>", FROM_ABOVE, RemoteRun, RUN),
    call(&["POST"], "/rudder/relay-api/1/remote-run/<targets>", FROM_ABOVE, RemoteRun, RUN),
    call(&["POST"], "/rudder/relay-api/2/remote-run", FROM_ABOVE, RemoteRun, RUN_2),
    call(&["GET"], "/triggers", &[Who::AnyNode], Triggers, "runs that the client should make"),
    call(&["POST"], "/triggers/<run>", &[Who::AnyNode], Triggers, "what became of a run that was asked for"),
    operate(GET, "/rudder/relay-api/1/policies/<node id>/<path>", Policies, "policies of a node"),
    operate(GET, "/rudder/relay-api/policies/<node id>/<path>", Policies, "policies of a node"),
    operate(GET, "/rudder/relay-api/1/shared-folder/<path>", SharedFolder, FOLDER),
    operate(GET, "/rudder/relay-api/shared-folder/<path>", SharedFolder, FOLDER),
    operate(&["HEAD", "PUT", "GET"], "/rudder/relay-api/1/shared-files/<file>", SharedFiles, FILES),
    operate(&["HEAD", "PUT", "GET"], "/rudder/relay-api/shared-files/<file>", SharedFiles, FILES),
    operate(&["POST"], "/rudder/relay-api/1/remote-run/<targets>", RemoteRun, RUN),
    operate(&["POST"], "/rudder/relay-api/remote-run/<targets>", RemoteRun, RUN),
    operate(&["POST"], "/rudder/relay-api/2/remote-run", RemoteRun, RUN_2),
    operate(&["GET"], "/rudder/relay-api/1/compliance", Fleet, "compliance of the fleet, and of parts of it"),
    operate(&["GET"], "/rudder/relay-api/1/compliance/<question>", Fleet, "what is wrong, and since when"),
    operate(&["GET"], "/rudder/relay-api/1/changes", Fleet, "what changed between two instants"),
    operate(&["GET"], "/rudder/relay-api/1/runs", Fleet, "runs of nodes"),
    operate(&["GET"], "/rudder/relay-api/1/runs/<run>", Fleet, "a run, with all its reports"),
    operate(&["GET"], "/rudder/relay-api/1/nodes/<node>", Fleet, "a node, and what is known of it"),
    operate(&["GET"], "/rudder/relay-api/1/nodes", Fleet, "nodes, and how each of them is"),
    operate(
        &["GET"],
        "/rudder/relay-api/1/inventories",
        Fleet,
        "the newest inventory of each node, in short",
    ),
    operate(
        &["GET"],
        "/rudder/relay-api/1/inventories/export",
        Fleet,
        "facts of all nodes, for other programs",
    ),
    operate(&["GET"], "/rudder/relay-api/1/packages", Fleet, "which nodes have a package"),
    operate(&["GET"], "/rudder/relay-api/1/updates", Fleet, "updates that are on offer to nodes"),
    operate(&["GET"], "/rudder/relay-api/1/vulnerabilities", Fleet, "packages that fall under advisories"),
    operate(&["GET"], "/rudder/relay-api/1/openapi.json", OpenApi, "this API, described"),
    operate(&["GET"], "/rudder/relay-api/openapi.json", OpenApi, "this API, described"),
    local(&["GET"], "/rudder/relay-api/1/system/info", "program and version"),
    local(&["GET"], "/rudder/relay-api/1/system/status", "state of the server"),
    local(&["POST"], "/rudder/relay-api/1/system/reload", "reload configuration and data"),
    local(&["GET"], "/rudder/relay-api/system/info", "program and version"),
    local(&["GET"], "/rudder/relay-api/system/status", "state of the server"),
    local(&["POST"], "/rudder/relay-api/system/reload", "reload configuration and data"),
    local(&["GET"], "/metrics", "metrics, in the text format of Prometheus"),
];

const GET: &[&str] = &["GET", "HEAD"];
const OF_NODE: &[Who] = &[Who::NodeNamed, Who::RelayAbove];
const FROM_ABOVE: &[Who] = &[Who::Upstream, Who::Loopback];
const FOLDER: &str = "files of this server for all nodes";
const FILES: &str = "a file from one node to another, signed by the sender";
const FETCH: &str = "files that were sent to this node";
const RUN: &str = "have nodes run their agent";
const RUN_2: &str = "have nodes run their agent, each with a definite end";

const fn local(methods: &'static [&'static str], path: &'static str, meaning: &'static str) -> Rule {
    let who = &[Who::Loopback];
    Rule { listener: Listener::Local, methods, path, who, purpose: Purpose::Operate, meaning }
}

const fn call(
    methods: &'static [&'static str],
    path: &'static str,
    who: &'static [Who],
    kind: ServiceKind,
    meaning: &'static str,
) -> Rule {
    Rule { listener: Listener::Gateway, methods, path, who, purpose: Purpose::Call(kind), meaning }
}

const fn operate(
    methods: &'static [&'static str],
    path: &'static str,
    kind: ServiceKind,
    meaning: &'static str,
) -> Rule {
    Rule { purpose: Purpose::Call(kind), ..local(methods, path, meaning) }
}
