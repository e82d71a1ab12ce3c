// SPDX-License-Identifier: Apache-2.0
//! A document of the API as it is kept in `api-docs/`, and whether an answer is one that it describes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Mutex,
};

use serde_json::{Value, json};
use tests::{Result, client::Reply};

/// A document, and which of its answers were seen.
pub struct Document {
    root: Value,
    operations: BTreeMap<String, Operation>,
    seen: Mutex<BTreeSet<Seen>>,
}

/// Operation id and status.
pub type Seen = (String, u16);

/// An operation.
#[derive(Clone)]
pub struct Operation {
    /// Method, in capitals.
    pub method: String,
    /// Path with parameters in braces.
    pub path: String,
    /// All of it.
    pub object: Value,
}

impl Document {
    /// `local.json` or `gateway.json`.
    pub fn load(name: &str) -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api-docs").join(name);
        let root: Value = serde_json::from_slice(&fs::read(file)?)?;
        let mut operations = BTreeMap::new();
        for (path, methods) in root["paths"].as_object().ok_or("no paths")? {
            for (method, object) in methods.as_object().ok_or("no methods")? {
                let id = object["operationId"].as_str().ok_or("no operationId")?.to_owned();
                let (method, object) = (method.to_ascii_uppercase(), object.clone());
                operations.insert(id, Operation { method, path: path.clone(), object });
            }
        }
        Ok(Self { root, operations, seen: Mutex::default() })
    }

    /// An operation by its id.
    pub fn operation(&self, id: &str) -> Result<&Operation> {
        self.operations.get(id).ok_or_else(|| format!("there is no operation {id}").into())
    }

    /// All operations by id.
    pub fn operations(&self) -> &BTreeMap<String, Operation> {
        &self.operations
    }

    /// The ids of an operation: its own, that without version, and those of their `HEAD`s.
    pub fn siblings(&self, id: &str) -> Vec<String> {
        let ids = ["", "Head", "Unversioned", "HeadUnversioned"].map(|suffix| format!("{id}{suffix}"));
        ids.into_iter().filter(|id| self.operations.contains_key(id)).collect()
    }

    /// An error unless the document describes this answer. What was seen is remembered.
    pub fn check(&self, id: &str, reply: &Reply) -> Result<()> {
        let operation = self.operation(id)?;
        let wrong = |what: String| {
            let text = String::from_utf8_lossy(&reply.body);
            let text: String = text.chars().take(600).collect();
            format!("{id} {} {}: {} {what}\n{text}", operation.method, operation.path, reply.status)
        };
        let response = &operation.object["responses"][reply.status.to_string()];
        if response.is_null() {
            return Err(wrong("is not described".into()).into());
        }
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            if header["required"] == true && reply.header(name).is_empty() {
                return Err(wrong(format!("has no {name}")).into());
            }
        }
        let described = response["content"].as_object();
        match described {
            None if reply.body.is_empty() => {}
            None => return Err(wrong("has a body that is not described".into()).into()),
            Some(types) => {
                let content_type = reply.header("Content-Type");
                let described = types.get(content_type).or_else(|| types.get("*/*"));
                let object = described.ok_or_else(|| {
                    wrong(format!("has a {content_type:?}, described are {:?}", types.keys()))
                })?;
                self.check_body(object, content_type, &reply.body).map_err(|e| wrong(e.to_string()))?;
            }
        }
        self.remember(id, reply.status);
        Ok(())
    }

    fn remember(&self, id: &str, status: u16) {
        self.seen.lock().unwrap().insert((id.to_owned(), status));
    }

    fn check_body(&self, object: &Value, content_type: &str, body: &[u8]) -> Result<()> {
        match content_type {
            "application/json" => self.check_json(&object["schema"], &serde_json::from_slice(body)?),
            "application/x-ndjson" => {
                let lines = std::str::from_utf8(body)?.lines();
                for line in lines.filter(|line| !line.is_empty()) {
                    self.check_json(&object["x-itemSchema"], &serde_json::from_str(line)?)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_json(&self, schema: &Value, value: &Value) -> Result<()> {
        // References point into the document: the schema is checked as a part of it.
        let whole = json!({"components": self.root["components"], "allOf": [schema]});
        let validator = jsonschema::draft202012::new(&whole)?;
        let errors: Vec<_> =
            validator.iter_errors(value).map(|e| format!("{e} at {}", e.instance_path())).collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(format!("is not of its schema: {}", errors.join("; ")).into())
        }
    }

    /// What is described and was not seen.
    pub fn unseen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let mut unseen = Vec::new();
        for (id, operation) in &self.operations {
            for status in operation.object["responses"].as_object().into_iter().flatten() {
                let described = (id.clone(), status.0.parse().unwrap_or_default());
                if !seen.contains(&described) {
                    unseen.push(described);
                }
            }
        }
        unseen
    }
}
