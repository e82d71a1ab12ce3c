// SPDX-License-Identifier: Apache-2.0
//! JSON schemas of the checked texts, for the documents of the API (protocol 17).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{hash::KeyHash, node_id::NodeId};

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
