// SPDX-License-Identifier: Apache-2.0
//! Questions about packages, for the documents of the API.

use schemars::{JsonSchema, SchemaGenerator};

use super::found::{Found, OfVersion, OnNode};
use crate::{
    api::Envelope,
    fleet::described::{AFTER, BAD, FORMAT, LATER, LIMIT, NEXT, NOT_HERE, TAG},
    open_api::{ApiPath, Content, Example, Operation, Shape, answer, in_query},
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
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
        answer(200, "what was found")
            .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<PackagesFound>>))
            .headers(&[NEXT]),
        BAD,
        NOT_HERE,
        LATER,
    ],
    example: Example { options: "", query: "name=openssl&version%3C=3.0.13" },
}];

const KINDS: &[&str] = &["dpkg", "rpm", "windows", "other"];

/// Packages on nodes, or versions of packages.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it says what the two lists look like")]
enum PackagesFound {
    Nodes(Found<OnNode>),
    Versions(Found<OfVersion>),
}
