// SPDX-License-Identifier: Apache-2.0
//! Files from node to node, for the documents of the API.

use protocol::shared_file::{FileId, List, Name};
use schemars::SchemaGenerator;

use crate::{
    files::described::{CONDITIONS, FILE},
    open_api::{
        Answer, ApiPath, Content, Example, Operation, Parameter, Shape, answer, body, in_path, in_query,
        problem,
    },
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "headSharedFile",
        method: "HEAD",
        path: FILE_PATH,
        tag: TAG,
        summary: "Whether a file was shared already",
        text: "What another server has to answer is asked there (protocol 7.4).",
        parameters: &[
            TARGET,
            SOURCE,
            ID,
            in_query("hash", "Hash of the file, hexadecimal.", Shape::Text, EMPTY).required(""),
        ],
        body: None,
        answers: &[
            answer(200, "this server has the file with this hash"),
            problem(400, "target, source or id of the file are none"),
            problem(404, "there is no such file, or one with another hash"),
            problem(500, "no hash is given, or the target is unknown to the root"),
            BUSY,
        ],
        example: Example { options: "", query: "hash=$HASH" },
    },
    Operation {
        id: "putSharedFile",
        method: "PUT",
        path: FILE_PATH,
        tag: TAG,
        summary: "A file from one node to another, signed by the sender",
        text: "What another server has to keep is passed on there (protocol 7.4).",
        parameters: &[
            TARGET,
            SOURCE,
            ID,
            in_query("ttl", "How long it is kept: seconds, or such as `1d 2h`.", Shape::Text, "1d")
                .required(""),
        ],
        body: Some(body(
            "Metadata with the signature (protocol 6.3), an empty line, and the content. With its length.",
            Content::Bytes(&["application/octet-stream"]),
        )),
        answers: &[
            answer(200, "the file is on stable storage"),
            problem(400, "target, source, id of the file or `ttl` are none"),
            problem(404, "the source is unknown, or the file was signed with another key than the source's"),
            problem(408, "the body stalls"),
            problem(411, "no `Content-Length`"),
            problem(413, "larger than `shared_files.max_body_size`"),
            problem(
                500,
                "no `ttl`; metadata, hash or signature are wrong; the target is unknown to the root",
            ),
            BUSY,
            problem(507, "no room on the disk").later(),
        ],
        example: Example { options: "--upload-file \"$SHARED_FILE\"", query: "ttl=1d" },
    },
    Operation {
        id: "listSharedFiles",
        method: "GET",
        path: ApiPath::Version(1, "/shared-files/{target}/"),
        tag: TAG,
        summary: "Files that wait for a node",
        text: "",
        parameters: &[TARGET],
        body: None,
        answers: &[
            answer(200, "all of them, or as many as can be told")
                .with(Content::Json(SchemaGenerator::subschema_for::<List>)),
            problem(404, "that is no node"),
        ],
        example: Example { options: "", query: "" },
    },
    Operation {
        id: "getSharedFile",
        method: "GET",
        path: FILE_PATH,
        tag: TAG,
        summary: "A file that was sent to a node",
        text: "With `.metadata` behind the id: its metadata, with the signature.",
        parameters: &[
            TARGET,
            SOURCE,
            ID,
            CONDITIONS[0],
            CONDITIONS[1],
            CONDITIONS[2],
            CONDITIONS[3],
            CONDITIONS[4],
            CONDITIONS[5],
        ],
        body: None,
        answers: &[
            FILE[0],
            FILE[1],
            FILE[2],
            FILE[3],
            FILE[4],
            problem(400, "target, source or id of the file are none"),
            problem(404, "there is no such file, or not any more"),
        ],
        example: Example { options: "--output \"$OUTPUT\"", query: "" },
    },
];

const TAG: &str = "Shared files";
const FILE_PATH: ApiPath = ApiPath::Version(1, "/shared-files/{target}/{source}/{file_id}");
const BUSY: Answer = problem(503, "too many files are being received or passed on").later();
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const NAME: Shape = Shape::Type(SchemaGenerator::subschema_for::<Name>);
const TARGET: Parameter = in_path("target", "The node that it is for.", NAME, "root", "$NODE");
const SOURCE: Parameter = in_path("source", "The node that sends it.", NAME, "root", "$NODE");
const ID: Parameter = in_path(
    "file_id",
    "How it is called. Does not end in `.metadata`.",
    Shape::Type(SchemaGenerator::subschema_for::<FileId>),
    "report.txt",
    "report.txt",
);
