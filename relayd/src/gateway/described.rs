// SPDX-License-Identifier: Apache-2.0
//! What the gateway answers itself, for the documents of the API.

use protocol::enrolment;
use schemars::SchemaGenerator;

use super::answer::Identity;
use crate::open_api::{
    Answer, ApiPath, Body, Content, Example, Header, Operation, Parameter, Shape, answer, body, header,
    in_path, problem,
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    upload("putRunLog", "/reports/{file_name}", "Upload a run log", RUN_LOG, OF_RUN_LOG),
    upload(
        "putInventory",
        "/inventories/{file_name}",
        "Upload the inventory of a node that is not accepted yet",
        INVENTORY,
        UPLOAD,
    ),
    upload(
        "putInventoryUpdate",
        "/inventory-updates/{file_name}",
        "Upload the inventory of an accepted node",
        INVENTORY_UPDATE,
        UPLOAD,
    ),
    Operation {
        id: "getUuid",
        method: "GET",
        path: ApiPath::At("/uuid"),
        tag: "Identity",
        summary: "The node id of this server",
        text: "",
        parameters: &[],
        body: None,
        answers: &[answer(200, "the node id and a line end").with(Content::Text)],
        example: Example { options: "", query: "" },
    },
    Operation {
        id: "getIdentity",
        method: "GET",
        path: ApiPath::At("/identity"),
        tag: "Identity",
        summary: "Who the client is for this server",
        text: "403 to a key that this server does not know (yet): so a node sees whether a new key has arrived.",
        parameters: &[],
        body: None,
        answers: &[answer(200, "the node to which the key belongs")
            .with(Content::Json(SchemaGenerator::subschema_for::<Identity>))],
        example: Example { options: "", query: "" },
    },
    Operation {
        id: "putEnrolment",
        path: ApiPath::At("/enrolments/{node_id}"),
        summary: "Ask to be accepted as a node",
        text: "The request proves the key, so that no certificate is needed (protocol 13.3). A node polls by \
               repeating it.",
        body: Some(PKCS10_BODY),
        answers: ENROLMENT,
        example: Example {
            options: "--header 'Content-Type: application/pkcs10'\n--upload-file \"$ENROLMENT\"",
            query: "",
        },
        ..ABOUT_NODE
    },
    Operation {
        id: "putKey",
        path: ApiPath::At("/keys/{node_id}"),
        summary: "Replace the key of a node",
        text: "See protocol 13.7.",
        body: Some(body(
            "The PKCS#10 request of the new key, in an S/MIME message signed with the present one; at most \
             32 KiB.",
            Content::Bytes(&["multipart/signed"]),
        )),
        answers: KEY,
        example: Example {
            options: "--header 'Content-Type: multipart/signed'\n--upload-file \"$NEW_KEY\"",
            query: "",
        },
        ..ABOUT_NODE
    },
    Operation {
        id: "putCertificate",
        path: ApiPath::At("/certificates/{node_id}"),
        summary: "Get a certificate from the built-in authority",
        text: "For the current key of the node (protocol 13.10).",
        body: Some(PKCS10_BODY),
        answers: CERTIFICATE,
        example: Example {
            options: "--header 'Content-Type: application/pkcs10'\n--upload-file \"$ENROLMENT\"",
            query: "",
        },
        ..ABOUT_NODE
    },
];

const fn upload(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answers: &'static [Answer],
) -> Operation {
    Operation {
        id,
        method: "PUT",
        path: ApiPath::At(path),
        tag: "Uploads",
        summary,
        text: "201 and 204 mean that the file is on stable storage. Everything that can be refused is refused \
               before the body is asked for: send `Expect: 100-continue` with large ones.",
        parameters,
        body: Some(body(
            "The file as it is, with its length and without `Content-Encoding`.",
            Content::Bytes(&["application/octet-stream"]),
        )),
        answers,
        example: Example { options: "--upload-file \"$FILE\"", query: "" },
    }
}

const RUN_LOG: &[Parameter] = &[in_path(
    "file_name",
    "Name of the run log (protocol 2.4).",
    Shape::Text,
    "2026-01-02T03:04:05+00:00@e745a140-40bc-4b86-b6dc-084488fc906b.log.gz",
    "2026-01-02T03:04:05+00:00@$NODE.log.gz",
)];
const INVENTORY: &[Parameter] = &[in_path("file_name", OF_INVENTORY, Shape::Text, OCS, "$NODE.ocs.gz")];
const INVENTORY_UPDATE: &[Parameter] =
    &[in_path("file_name", OF_INVENTORY, Shape::Text, OCS, "$NODE.ocs.gz")];
const OF_INVENTORY: &str = "Name of the inventory, or of its signature (protocol 6.1).";
const OCS: &str = "e745a140-40bc-4b86-b6dc-084488fc906b_2026-01-02T03:04:05+00:00.ocs.gz";

const UPLOAD: &[Answer] =
    &[CREATED, THERE, BAD, STALLS, OTHER, NO_LENGTH, TOO_LARGE, NODE_TOO_OFTEN, BUSY, FULL];
const OF_RUN_LOG: &[Answer] =
    &[TAKEN, TAKEN_BEFORE, BAD, NOT_TAKEN, STALLS, OTHER, NO_LENGTH, TOO_LARGE, NODE_TOO_OFTEN, BUSY, FULL];

const CREATED: Answer = answer(201, "the bytes are on stable storage under the name");
const THERE: Answer = answer(204, "the same bytes wait under that name already");
const TAKEN: Answer = CREATED.headers(&[RESEND]);
const TAKEN_BEFORE: Answer = THERE.headers(&[RESEND]);
const RESEND: Header = Header {
    name: "Relayd-Resend-Since",
    text: "The server came back from a backup of then (RFC 3339, UTC): what the node sent since, it should send again \
           (protocol 12.9).",
    always: false,
};
const BAD: Answer = problem(
    400,
    "bad name, bad gzip header, body other than announced, `Content-Encoding` or `Content-Range`",
);
const NOT_TAKEN: Answer = problem(404, "this server neither stores nor forwards run logs");
const STALLS: Answer = problem(408, "the body stalls, or comes more slowly than `gateway.min_body_rate`");
const OTHER: Answer = problem(409, "other bytes wait under that name");
const NODE_TOO_OFTEN: Answer = problem(429, "this node uploads too often").later();
const BUSY: Answer =
    problem(503, "the file system is over its high-water mark, or too much is under way").later();
const FULL: Answer = problem(507, "no space or no inodes").later();

const ABOUT_NODE: Operation = Operation {
    id: "",
    method: "PUT",
    path: ApiPath::At(""),
    tag: "Identity",
    summary: "",
    text: "",
    parameters: &[
        in_path(
            "node_id",
            "The node that it is about.",
            Shape::Type(SchemaGenerator::subschema_for::<protocol::node_id::NodeId>),
            "e745a140-40bc-4b86-b6dc-084488fc906b",
            "$NODE",
        ),
        header(
            "Relayd-Policy-Server",
            "Set by the relay to which the node itself talks: where it is in the tree. Believed of a relay that \
             is this one or stands above it only.",
            Shape::Text,
            "",
        ),
        header(
            "Relayd-Client-Address",
            "Set by the same relay: the address from which the node connected.",
            Shape::Text,
            "",
        ),
        header("Relayd-Hops", "Counted up by each relay; at most 20.", Shape::Text, "0"),
    ],
    body: None,
    answers: &[],
    example: Example { options: "", query: "" },
};

const PKCS10_BODY: Body =
    body("PKCS#10 request, PEM, at most 16 KiB.", Content::Bytes(&["application/pkcs10"]));
const STATE: Content = Content::Json(SchemaGenerator::subschema_for::<enrolment::Answer>);

const ENROLMENT: &[Answer] = &[
    answer(200, "`accepted`: the node is known by this key").with(STATE),
    answer(202, "`pending`: somebody has to decide; repeat the request").with(STATE).later(),
    answer(403, "`rejected`, `revoked` or `refused`").with(STATE),
    answer(409, "`conflict`: the id has another key, or the key another id").with(STATE),
    MALFORMED,
    NOBODY_DECIDES,
    NO_LENGTH,
    TOO_LARGE,
    TOO_SLOW,
    TOO_OFTEN,
    NOT_NOW,
    CIRCLE,
];

const KEY: &[Answer] = &[
    answer(200, "`accepted`: the new key is that of the node").with(STATE),
    answer(403, "`refused`: signed with a key that was replaced, a key that comes back, or one too many")
        .with(STATE),
    answer(409, "`conflict`: the new key belongs to another node").with(STATE),
    MALFORMED,
    NOBODY_DECIDES,
    NO_LENGTH,
    TOO_LARGE,
    TOO_SLOW,
    TOO_OFTEN,
    NOT_NOW,
    CIRCLE,
];

const CERTIFICATE: &[Answer] = &[
    answer(200, "the certificate and those above it, PEM, the leaf first")
        .with(Content::Bytes(&["application/pem-certificate-chain"])),
    problem(404, "there is no built-in authority"),
    MALFORMED,
    NOBODY_DECIDES,
    NO_LENGTH,
    TOO_LARGE,
    TOO_SLOW,
    TOO_OFTEN,
    NOT_NOW,
    CIRCLE,
];

const MALFORMED: Answer = problem(400, "not such a request, or for another node than the path names");
const NOBODY_DECIDES: Answer =
    problem(404, "another program says which nodes there are, or enrolment is off");
const NO_LENGTH: Answer = problem(411, "no `Content-Length`");
const TOO_LARGE: Answer = problem(413, "larger than allowed");
const TOO_SLOW: Answer = problem(408, "the body is not there after 10 s");
const TOO_OFTEN: Answer = problem(429, "too many requests of this node or from this address").later();
const NOT_NOW: Answer = problem(503, "who decides cannot be asked now, or too much is under way").later();
const CIRCLE: Answer = problem(508, "passed on by more than 20 relays");
