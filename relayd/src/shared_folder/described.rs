// SPDX-License-Identifier: Apache-2.0
//! The shared folder, for the documents of the API.

use crate::{
    files::described::{CONDITIONS, FILE},
    open_api::{ApiPath, Example, Operation, Parameter, Shape, answer, in_path, in_query, problem},
};

/// What is answered here.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getSharedFolder",
        method: "GET",
        path: ApiPath::Version(1, "/shared-folder/{path}"),
        tag: "Shared folder",
        summary: "A file of this server for all nodes",
        text: "Of a directory its `index.html`.",
        parameters: &[
            PATH,
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
            problem(404, "there is no such file, or the path is none"),
        ],
        example: Example { options: "--output \"$OUTPUT\"", query: "" },
    },
    Operation {
        id: "headSharedFolder",
        method: "HEAD",
        path: ApiPath::Version(1, "/shared-folder/{path}"),
        tag: "Shared folder",
        summary: "Whether the copy of a file is the present one",
        text: "Either with the hash of the copy in the query (protocol 7.5) or with the conditions of HTTP.",
        parameters: &[
            PATH,
            in_query(
                "hash",
                "Hash of the copy, hexadecimal. Only looked at when the file exists.",
                Shape::Text,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            in_query(
                "hash_type",
                "Which hash; SHA-256 when it is empty.",
                Shape::OneOf(&["sha256", "sha512", ""]),
                "sha256",
            ),
            CONDITIONS[0],
            CONDITIONS[1],
            CONDITIONS[2],
            CONDITIONS[3],
        ],
        body: None,
        answers: &[
            answer(200, "the file exists, and is another one if a hash was given"),
            answer(304, "the copy is the present file"),
            problem(400, "hash, type or path make no sense"),
            problem(404, "there is no such file"),
            answer(412, "`If-Match` or `If-Unmodified-Since` is not met"),
            problem(500, "the file cannot be read; so is a directory answered"),
        ],
        example: Example {
            options: "",
            query: "hash=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        },
    },
];

const PATH: Parameter = in_path(
    "path",
    "Path in the folder. Slashes stand for themselves: `tools/setup.sh`.",
    Shape::Pattern("^[^/\\\\.][^/\\\\]*$"),
    "setup.sh",
    "setup.sh",
);
