// SPDX-License-Identifier: Apache-2.0
//! The report of vulnerable and outdated packages, for the documents of the API.

use schemars::{JsonSchema, SchemaGenerator};

use super::{
    question::Reported,
    rows::{ByAdvisory, ByNode, ByPackage, EachFinding},
};
use crate::{
    api::Envelope,
    fleet::described::{AFTER, BAD, CSV, FORMAT, LIMIT, NO_NODE, NOT_HERE, TAG, json},
    open_api::{ApiPath, Example, Operation, Shape, in_query, problem},
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "findVulnerabilities",
    method: "GET",
    path: ApiPath::Version(1, "/vulnerabilities"),
    tag: TAG,
    summary: "Packages of the fleet that fall under advisories",
    text: "Made anew for each request, of the newest inventory of each node and the advisories that the operator \
           provides (`processing.inventory.advisories`). The worst come first; findings are by node.",
    parameters: &[
        in_query(
            "by",
            "What the list has an item for; `finding` is each package with each advisory on each node.",
            Shape::OneOf(&["advisory", "node", "package", "finding"]),
            "node",
        ),
        in_query("node", "Id or host name of one node.", Shape::Text, "root"),
        in_query(
            "severity",
            "As bad as this, or worse.",
            Shape::OneOf(&["critical", "high", "medium", "low", "unknown"]),
            "high",
        ),
        in_query("advisory", "Name of an advisory, or another name of it.", Shape::Text, "CVE-2026-1234"),
        in_query("package", "Name of a package; `*` is any text, `?` any character.", Shape::Text, "openssl"),
        in_query(
            "fixed",
            "Those that a newer version mends, or those that none does.",
            Shape::OneOf(&["true", "false"]),
            "true",
        ),
        AFTER,
        LIMIT,
        FORMAT,
    ],
    body: None,
    answers: &[
        json("what was found", SchemaGenerator::subschema_for::<Envelope<Vulnerabilities>>),
        CSV,
        BAD,
        NOT_HERE,
        NO_NODE,
        problem(
            503,
            "the database does not answer, or not in time; too many questions at a time; or the advisories \
             cannot be read",
        )
        .later(),
    ],
    example: Example { options: "", query: "by=node&severity=high" },
}];

/// One of the four lists.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it says what the lists look like")]
enum Vulnerabilities {
    Advisories(Reported<ByAdvisory>),
    Nodes(Reported<ByNode>),
    Packages(Reported<ByPackage>),
    Findings(Reported<EachFinding>),
}
