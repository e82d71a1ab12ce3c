// SPDX-License-Identifier: Apache-2.0
//! JSON schemas of the checked texts, for the documents of the API (protocol 17).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    hash::KeyHash,
    node_id::NodeId,
    remote_run::{Conditions, MAX_CONDITIONS},
    shared_file::{FileId, Name},
};

impl JsonSchema for NodeId {
    fn schema_name() -> Cow<'static, str> {
        "NodeId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Id of a node (protocol 1.1): mostly a UUID, or `root`.",
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        })
    }
}

impl JsonSchema for KeyHash {
    fn schema_name() -> Cow<'static, str> {
        "KeyHash".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Hash of a public key (protocol 1.4).",
            "type": "string",
            "pattern": "^(sha256//[A-Za-z0-9+/]{43}=|sha512//[A-Za-z0-9+/]{86}==)$",
        })
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "SharedFileName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "Target or source of a shared file (protocol 7.4): the id of a node.", "type": "string", "pattern": "^[A-Za-z0-9_.-]+$"})
    }
}

impl JsonSchema for FileId {
    fn schema_name() -> Cow<'static, str> {
        "SharedFileId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "Id of a shared file (protocol 7.4), which does not end in `.metadata`.", "type": "string", "pattern": "^[A-Za-z0-9_.-]+$"})
    }
}

impl JsonSchema for Conditions {
    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Conditions of a run, in the order given.",
            "type": "array",
            "maxItems": MAX_CONDITIONS,
            "items": {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_]*$", "maxLength": 1024},
        })
    }
}
