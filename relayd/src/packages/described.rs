// SPDX-License-Identifier: Apache-2.0
//! Questions about packages, for the documents of the API.

use schemars::{JsonSchema, SchemaGenerator};

use super::{
    found::{Found, OfVersion, OnNode},
    updates::{Offered, Outdated},
};
use crate::{
    api::Envelope,
    fleet::{
        Page,
        described::{AFTER, BAD, CSV, FORMAT, LATER, LIMIT, NO_NODE, NOT_HERE, TAG, json},
    },
    open_api::{ApiPath, Example, Operation, Shape, in_query},
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "findPackages",
        method: "GET",
        path: ApiPath::Version(1, "/packages"),
        tag: TAG,
        summary: "Which nodes have a package, and how many have which version of it",
        text: "From the newest inventory of each node. Versions are compared by the rules of the package: those of dpkg \
           or of rpm. Conditions on them are written as they are said: `version=1.2`, `version<=1.2`, \
           `version>=1.2`, and without a further `=` also `version<1.2` and `version>1.2`; all of them must hold. \
           Of a version of rpm without a release, any release counts. By node and package, or by package and \
           version.",
        parameters: &[
            in_query(
                "name",
                "Name of the package; `*` is any text, `?` any character. Needed but with `by=version`.",
                Shape::Text,
                "openssl*",
            ),
            in_query("version", "This version.", Shape::Text, "3.0.11-1~deb12u2"),
            in_query("version<", "This version or an older one.", Shape::Text, "3.0.13"),
            in_query("version>", "This version or a newer one.", Shape::Text, "1.1"),
            in_query("arch", "Architecture.", Shape::Text, "amd64"),
            in_query("kind", "What manages the package.", Shape::OneOf(KINDS), "dpkg"),
            in_query("node", "Id or host name of one node.", Shape::Text, "root"),
            in_query(
                "by",
                "What the list has an item for: each package on each `node`, or each `version`.",
                Shape::OneOf(&["node", "version"]),
                "version",
            ),
            AFTER,
            LIMIT,
            FORMAT,
        ],
        body: None,
        answers: &[
            json("what was found", SchemaGenerator::subschema_for::<Envelope<PackagesFound>>),
            CSV,
            BAD,
            NOT_HERE,
            NO_NODE,
            LATER,
        ],
        example: Example { options: "", query: "name=openssl&version%3C=3.0.13" },
    },
    Operation {
        id: "findUpdates",
        method: "GET",
        path: ApiPath::Version(1, "/updates"),
        tag: TAG,
        summary: "Updates that are on offer to nodes",
        text: "As the newest inventory of each node lists them. The updates for most nodes come first, or the nodes with \
           most updates about security.",
        parameters: &[
            in_query(
                "by",
                "What the list has an item for: each update of a `package`, or each `node`.",
                Shape::OneOf(&["package", "node"]),
                "node",
            ),
            in_query("node", "Id or host name of one node.", Shape::Text, "root"),
            in_query(
                "name",
                "Name of the package; `*` is any text, `?` any character.",
                Shape::Text,
                "openssl*",
            ),
            in_query("kind", "Kind of update, in the words of whoever offers it.", Shape::Text, "security"),
            AFTER,
            LIMIT,
            FORMAT,
        ],
        body: None,
        answers: &[
            json("the updates", SchemaGenerator::subschema_for::<Envelope<Updates>>),
            CSV,
            BAD,
            NOT_HERE,
            NO_NODE,
            LATER,
        ],
        example: Example { options: "", query: "kind=security" },
    },
];

const KINDS: &[&str] = &["dpkg", "rpm", "windows", "other"];

/// Packages on nodes, or versions of packages.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it says what the two lists look like")]
enum PackagesFound {
    Nodes(Found<OnNode>),
    Versions(Found<OfVersion>),
}

/// Updates, or nodes.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it says what the two lists look like")]
enum Updates {
    Packages(Page<Offered>),
    Nodes(Page<Outdated>),
}
