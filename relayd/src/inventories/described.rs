// SPDX-License-Identifier: Apache-2.0
//! Inventories, for the documents of the API.

use schemars::SchemaGenerator;

use super::{
    changes::Change,
    questions::{Line, NodeInventory, Summary},
};
use crate::{
    api::Envelope,
    fleet::{
        Page,
        described::{AFTER, BAD, CSV, FORMAT, LATER, LIMIT, NEXT, NODE_ID},
    },
    open_api::{Answer, ApiPath, Content, Example, Operation, Parameter, Shape, answer, in_query, problem},
};

const TAG: &str = "Inventories";
const SECTION: Parameter = in_query(
    "section",
    "Which sections, separated by commas: such as `packages`, `software_updates`, `momentary`, `hardware`, \
     `networks`, `rudder`.",
    Shape::Text,
    "hardware",
);
const NAME: Parameter = in_query(
    "name",
    "Whose host name is like this: `*` is any text, `?` any character.",
    Shape::Text,
    "web*",
);
const OS: Parameter =
    in_query("os", "Whose operating system is called like this, in words.", Shape::Text, "debian*");
const NOT_THERE: Answer = problem(404, "no inventory of this node is stored, or not on this server");
const NOT_HERE: Answer =
    problem(404, "this server stores nothing: the root does (`processing.inventory.output = \"database\"`)");

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getNodeInventory",
        method: "GET",
        path: ApiPath::Version(1, "/nodes/{node_id}/inventory"),
        tag: TAG,
        summary: "What a node says of itself",
        text: "From its newest inventory, or from what was true at an instant: then without what is different in \
               each inventory.",
        parameters: &[
            NODE_ID,
            in_query(
                "at",
                "Instant: RFC 3339, a day, Unix time, or how long ago (`12h`).",
                Shape::Text,
                "2026-11-20T06:00:00Z",
            ),
            SECTION,
        ],
        body: None,
        answers: &[
            answer(200, "the inventory")
                .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<NodeInventory>>)),
            BAD,
            NOT_THERE,
            LATER,
        ],
        example: Example { options: "", query: "section=hardware,packages" },
    },
    Operation {
        id: "getInventoryChanges",
        method: "GET",
        path: ApiPath::Version(1, "/nodes/{node_id}/inventory/changes"),
        tag: TAG,
        summary: "How a node changed",
        text: "The last change first.",
        parameters: &[NODE_ID, AFTER, LIMIT],
        body: None,
        answers: &[
            answer(200, "the changes")
                .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<Page<Change>>>))
                .headers(&[NEXT]),
            BAD,
            NOT_THERE,
            LATER,
        ],
        example: Example { options: "", query: "limit=10" },
    },
    Operation {
        id: "listInventories",
        method: "GET",
        path: ApiPath::Version(1, "/inventories"),
        tag: TAG,
        summary: "The newest inventory of each node, in short",
        text: "By id of the node.",
        parameters: &[NAME, OS, AFTER, LIMIT, FORMAT],
        body: None,
        answers: &[
            answer(200, "the inventories")
                .with(Content::Json(SchemaGenerator::subschema_for::<Envelope<Page<Summary>>>))
                .headers(&[NEXT]),
            CSV,
            BAD,
            NOT_HERE,
            LATER,
        ],
        example: Example { options: "", query: "os=debian*" },
    },
    Operation {
        id: "exportInventories",
        method: "GET",
        path: ApiPath::Version(1, "/inventories/export"),
        tag: TAG,
        summary: "Facts of all nodes, for other programs",
        text: "One JSON object in each line, by id of the node. Without `section` all sections but `packages` and \
               `momentary`, which are large. Without `limit` all nodes; with `limit` an answer of more than 16 MiB \
               ends early, with `Link` to the rest.",
        parameters: &[
            NAME,
            OS,
            SECTION,
            AFTER,
            in_query("limit", "Most nodes; all of them if absent.", Shape::Integer(1, 10_000), "50"),
        ],
        body: None,
        answers: &[
            answer(200, "the nodes")
                .with(Content::JsonLines(SchemaGenerator::subschema_for::<Line>))
                .headers(&[NEXT]),
            BAD,
            NOT_HERE,
            LATER,
        ],
        example: Example { options: "", query: "section=operating_system,networks" },
    },
];
