// SPDX-License-Identifier: Apache-2.0
//! The state of the fleet, for the documents of the API.

use schemars::SchemaGenerator;

use super::{Page, nodes::Node};
use crate::{
    api::Envelope,
    open_api::{
        Answer, ApiPath, Content, Example, Header, Operation, Parameter, Shape, answer, in_query, problem,
    },
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "listNodes",
    method: "GET",
    path: ApiPath::Version(1, "/nodes"),
    tag: TAG,
    summary: "Nodes, and how each of them is",
    text: "By id.",
    parameters: &[
        in_query(
            "name",
            "Whose host name is like this: `*` is any text, `?` any character.",
            Shape::Text,
            "web*",
        ),
        in_query("state", "What the registry says of them.", Shape::OneOf(STATES), "accepted"),
        in_query("relay", "The server to which they connect.", Shape::Text, "root"),
        in_query("status", "How they are.", Shape::OneOf(&["compliant", "failing", "no_answer"]), "failing"),
        AFTER,
        LIMIT,
        FORMAT,
    ],
    body: None,
    answers: &[
        answer(200, "the nodes")
            .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<Page<Node>>>))
            .headers(&[NEXT]),
        BAD,
        NOT_HERE,
        LATER,
    ],
    example: Example { options: "", query: "status=failing" },
}];

/// Heading in the documents.
pub(crate) const TAG: &str = "State of the fleet";
const STATES: &[&str] = &["pending", "accepted", "rejected", "revoked"];

/// Where a list begins.
pub(crate) const AFTER: Parameter =
    in_query("after", "What `next` said: the list goes on there.", Shape::Text, "");
/// How much of a list is wanted.
pub(crate) const LIMIT: Parameter =
    in_query("limit", "Most items; 100 if absent.", Shape::Integer(1, 10_000), "50");
/// JSON or CSV.
pub(crate) const FORMAT: Parameter = in_query(
    "format",
    "What the answer looks like; the same as `Accept: text/csv`. Lists are there as CSV as well.",
    Shape::OneOf(&["json", "csv"]),
    "json",
);
/// Where the next page is.
pub(crate) const NEXT: Header =
    Header { name: "Link", text: "The next page, as `rel=\"next\"` (RFC 8288).", always: false };
/// A question that makes no sense.
pub(crate) const BAD: Answer =
    problem(400, "a member of the query is not known, there twice, or not readable");
/// Nothing to answer from.
pub(crate) const NOT_HERE: Answer =
    problem(404, "this server stores no run logs: the root does (`processing.reporting.output`)");
/// The database does not answer.
pub(crate) const LATER: Answer =
    problem(503, "the database does not answer, or not in time; or too many questions at a time").later();
