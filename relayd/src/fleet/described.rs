// SPDX-License-Identifier: Apache-2.0
//! The state of the fleet, for the documents of the API.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    Page,
    by_node::NodeCompliance,
    changes::{Change, SameChange},
    failing::Found,
    node::NodeAnswer,
    nodes::Node,
    parts::Part,
    run::RunDetails,
    runs::Run,
    summary::Summary,
    timeline::Segment,
};
use crate::{
    api::Envelope,
    open_api::{
        Answer, ApiPath, Content, Example, Header, Operation, Parameter, SchemaOf, Shape, answer, in_path,
        in_query, problem,
    },
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getCompliance",
        path: ApiPath::Version(1, "/compliance"),
        summary: "How the fleet is, or parts of it",
        text: "Without `by` one object for all that passes the filters; with `by` a list. `status` chooses \
               among the items of a list, and `status`, `after` and `limit` are for lists only. A page may have \
               fewer items than its limit where there is a next one (protocol 18.3).",
        parameters: &[
            in_query("by", "What results are put together by.", Shape::OneOf(BY), "rule"),
            AT,
            NODE,
            RULE,
            DIRECTIVE,
            POLICY,
            COMPONENT,
            STATUS,
            AFTER,
            LIMIT,
            FORMAT,
        ],
        answers: &[json("the state", compliance), CSV, BAD, NOT_HERE, NO_NODE, LATER],
        example: Example { options: "", query: "by=rule&status=failing" },
        ..FIRST
    },
    Operation {
        id: "getFailing",
        path: ApiPath::Version(1, "/compliance/failing"),
        summary: "What is wrong: components, what their reports say, and the log lines attached to them",
        text: "Of nodes that answer, by node. A page ends with the node with which its limit is reached. \
               `status` asks for other results, `repaired` for instance. Messages are cut after 2000 characters; \
               the run has all of them. Of an instant whose runs are kept no longer there are the results alone: \
               `run` is null, `message` and `logs` are empty.",
        parameters: &[AT, NODE, RULE, DIRECTIVE, POLICY, COMPONENT, STATUS, AFTER, LIMIT, FORMAT],
        answers: &[json("what is wrong", page::<Found>), CSV, BAD, NOT_HERE, NO_NODE, LATER],
        example: Example { options: "", query: "limit=10" },
        ..FIRST
    },
    Operation {
        id: "getTimeline",
        path: ApiPath::Version(1, "/compliance/nodes/{node_id}/timeline"),
        summary: "How a node was over time",
        text: "Runs with the same results make one segment; the newest comes first.",
        parameters: &[NODE_ID, FROM, TO, AFTER, LIMIT, FORMAT],
        answers: &[json("the segments", page::<Segment>), CSV, BAD, NOT_HERE, NO_NODE, LATER],
        ..FIRST
    },
    Operation {
        id: "getChanges",
        path: ApiPath::Version(1, "/changes"),
        summary: "What is other at one instant than at an earlier one",
        text: "By node, with nodes that went silent or came back; or by component over all nodes, the most \
               frequent change first.",
        parameters: &[
            in_query("from", "The earlier instant.", Shape::Text, "12h").required("12h"),
            in_query("to", "The later instant; now if absent.", Shape::Text, "2026-11-20T06:00:00Z"),
            in_query(
                "by",
                "What changes are put together by.",
                Shape::OneOf(&["node", "component"]),
                "component",
            ),
            NODE,
            RULE,
            DIRECTIVE,
            POLICY,
            COMPONENT,
            AFTER,
            LIMIT,
            FORMAT,
        ],
        answers: &[json("the changes", changes), CSV, BAD, NOT_HERE, NO_NODE, LATER],
        example: Example { options: "", query: "from=12h" },
        ..FIRST
    },
    Operation {
        id: "getRuns",
        path: ApiPath::Version(1, "/runs"),
        summary: "Complete runs, the newest first",
        parameters: &[
            NODE,
            FROM,
            in_query("to", "Only what began before; now if absent.", Shape::Text, ""),
            in_query(
                "config_id",
                "With this version of the policies; only with `node` or `from`.",
                Shape::Text,
                "20261120-120000-3ad37587",
            ),
            AFTER,
            LIMIT,
            FORMAT,
        ],
        answers: &[json("the runs", page::<Run>), CSV, BAD, NOT_HERE, NO_NODE, LATER],
        ..FIRST
    },
    Operation {
        id: "getRun",
        path: ApiPath::Version(1, "/runs/{node_id}/{start}"),
        summary: "A run with its reports",
        text: "`limit` counts stored rows: reports and log lines. As text: one line for each of them (protocol 3.8), \
               all of them without `limit`.",
        parameters: &[
            NODE_ID,
            in_path(
                "start",
                "Start of the run.",
                Shape::Text,
                "2026-11-20T06:00:00Z",
                "2026-11-20T06:00:00Z",
            ),
            AFTER,
            LIMIT,
            in_query("format", "What the answer looks like.", Shape::OneOf(&["json", "csv", "text"]), "text"),
        ],
        answers: &[
            json("the run", SchemaGenerator::subschema_for::<Envelope<RunDetails>>),
            CSV,
            answer(200, "its text").with(Content::Text).headers(&[NEXT]),
            BAD,
            NOT_HERE,
            problem(404, "no such run is stored"),
            LATER,
        ],
        ..FIRST
    },
    Operation {
        id: "listNodes",
        path: ApiPath::Version(1, "/nodes"),
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
            in_query(
                "status",
                "How they are.",
                Shape::OneOf(&["compliant", "failing", "no_answer"]),
                "failing",
            ),
            AFTER,
            LIMIT,
            FORMAT,
        ],
        answers: &[json("the nodes", page::<Node>), CSV, BAD, NOT_HERE, LATER],
        example: Example { options: "", query: "status=failing" },
        ..FIRST
    },
    Operation {
        id: "getNode",
        path: ApiPath::Version(1, "/nodes/{node_id}"),
        summary: "A node: how it is, by rule, and its last runs",
        parameters: &[NODE_ID],
        answers: &[
            json("the node", SchemaGenerator::subschema_for::<Envelope<NodeAnswer>>).headers(&[]),
            BAD,
            NOT_HERE,
            NO_NODE,
            LATER,
        ],
        ..FIRST
    },
];

/// What most of them have in common.
const FIRST: Operation = Operation {
    id: "",
    method: "GET",
    path: ApiPath::At(""),
    tag: TAG,
    summary: "",
    text: "",
    parameters: &[],
    body: None,
    answers: &[],
    example: Example { options: "", query: "" },
};

/// Heading in the documents.
pub(crate) const TAG: &str = "State of the fleet";
const BY: &[&str] = &["node", "rule", "directive", "component"];
const STATES: &[&str] = &["pending", "accepted", "rejected", "revoked"];
const STATUSES: &[&str] = &[
    "failing",
    "no_answer",
    "success",
    "repaired",
    "error",
    "na",
    "audit_compliant",
    "audit_noncompliant",
    "audit_error",
    "audit_na",
];

const AT: Parameter = in_query(
    "at",
    "At this instant: RFC 3339, a day, Unix time, or how long ago (`12h`); now if absent.",
    Shape::Text,
    "2026-11-20T06:00:00Z",
);
const FROM: Parameter = in_query("from", "Only what ended then or later.", Shape::Text, "1d");
const TO: Parameter = in_query("to", "Only what began then or earlier.", Shape::Text, "");
/// One node.
pub(crate) const NODE_ID: Parameter =
    in_path("node_id", "The node.", Shape::Text, "e745a140-40bc-4b86-b6dc-084488fc906b", "$NODE");
const NODE: Parameter =
    in_query("node", "On this node only, by its id.", Shape::Text, "e745a140-40bc-4b86-b6dc-084488fc906b");
const RULE: Parameter =
    in_query("rule", "Of this rule only.", Shape::Text, "32377fd7-02fd-43d0-aab7-28460a91347b");
const DIRECTIVE: Parameter = in_query("directive", "Of this directive only.", Shape::Text, "common-root");
const POLICY: Parameter = in_query("policy", "Of this technique only.", Shape::Text, "Common");
const COMPONENT: Parameter = in_query(
    "component",
    "Of components that are called like this: `*` is any text, `?` any character.",
    Shape::Text,
    "File*",
);
const STATUS: Parameter =
    in_query("status", "Only what has such results.", Shape::OneOf(STATUSES), "failing");
/// Where a list begins.
pub(crate) const AFTER: Parameter =
    in_query("after", "What `next` said: the list goes on there.", Shape::Text, "");
/// How much of a list is wanted.
pub(crate) const LIMIT: Parameter = in_query(
    "limit",
    "Most items. If absent: 100 as JSON, all of them as CSV.",
    Shape::Integer(1, 10_000),
    "50",
);
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
/// The same as a table.
pub(crate) const CSV: Answer =
    answer(200, "a list as table").with(Content::Bytes(&["text/csv; charset=utf-8"])).headers(&[NEXT]);
/// A question that makes no sense.
pub(crate) const BAD: Answer = problem(
    400,
    "a member of the query is not known, there twice, empty, or not readable; the text says which",
);
/// Nothing to answer from.
pub(crate) const NOT_HERE: Answer =
    problem(404, "this server stores no run logs: the root does (`processing.reporting.output`)");
/// A node is named that is none.
pub(crate) const NO_NODE: Answer =
    problem(404, "what is named is not known, such as the node; the text says what");
/// The database does not answer.
pub(crate) const LATER: Answer =
    problem(503, "the database does not answer, or not in time; or too many questions at a time").later();

/// A list or an object in the envelope.
pub(crate) const fn json(when: &'static str, schema: SchemaOf) -> Answer {
    answer(200, when).with(Content::Json(schema)).headers(&[NEXT])
}

/// The schema of a page.
pub(crate) fn page<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<Envelope<Page<T>>>()
}

/// What `by` makes of it.
fn compliance(schemas: &mut SchemaGenerator) -> Schema {
    let all = [
        schemas.subschema_for::<Envelope<Summary>>(),
        page::<NodeCompliance>(schemas),
        page::<Part>(schemas),
    ];
    json_schema!({"anyOf": all})
}

fn changes(schemas: &mut SchemaGenerator) -> Schema {
    let all = [page::<Change>(schemas), page::<SameChange>(schemas)];
    json_schema!({"anyOf": all})
}
