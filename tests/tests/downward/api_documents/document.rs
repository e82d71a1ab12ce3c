// SPDX-License-Identifier: Apache-2.0
//! A document of the API as it is kept in `api-docs/`, and whether an answer is one that it describes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::{Result, client::Reply};

/// A document, and which of its answers were seen.
pub struct Document {
    root: Value,
    operations: BTreeMap<String, Operation>,
    seen: Mutex<BTreeSet<Seen>>,
    /// JSON that was seen, with its schemas.
    cases: Mutex<Vec<Value>>,
}

/// A validator of JSON Schema 2020-12: that of schemathesis. As a crate it would be most of what the tests compile.
const VALIDATE: &str = r#"
import json, sys, jsonschema_rs
given, wrong = json.load(sys.stdin), []
for case in given["cases"]:
    # References point into the document: the schema is checked as a part of it.
    schema = {"components": given["components"], "allOf": [case["schema"]]}
    for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(case["value"]):
        wrong.append(f"{case['what']}: {error.message} at {error.instance_path}")
sys.exit("\n".join(wrong) or None)
"#;

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
        Ok(Self { root, operations, seen: Mutex::default(), cases: Mutex::default() })
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
            None if reply.body.is_empty() || response["x-untyped-body"] == true => {}
            None => return Err(wrong("has a body that is not described".into()).into()),
            Some(types) => {
                let content_type = reply.header("Content-Type");
                let described = types.get(content_type).or_else(|| types.get("*/*"));
                let object = described.ok_or_else(|| {
                    wrong(format!("has a {content_type:?}, described are {:?}", types.keys()))
                })?;
                self.check_body(id, object, content_type, &reply.body).map_err(|e| wrong(e.to_string()))?;
            }
        }
        if operation.object["deprecated"] == true {
            check_deprecated(reply).map_err(wrong)?;
        }
        self.remember(id, reply.status);
        Ok(())
    }

    fn remember(&self, id: &str, status: u16) {
        self.seen.lock().unwrap().insert((id.to_owned(), status));
    }

    fn check_body(&self, what: &str, object: &Value, content_type: &str, body: &[u8]) -> Result<()> {
        match content_type {
            // Files may be of any type.
            _ if object["schema"].is_null() => {}
            "application/json" => self.check_json(what, &object["schema"], &serde_json::from_slice(body)?),
            "application/x-ndjson" => {
                let lines = std::str::from_utf8(body)?.lines();
                for line in lines.filter(|line| !line.is_empty()) {
                    self.check_json(what, &object["x-itemSchema"], &serde_json::from_str(line)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// That is checked later, for all at once.
    fn check_json(&self, what: &str, schema: &Value, value: &Value) {
        self.cases.lock().unwrap().push(json!({"what": what, "schema": schema, "value": value}));
    }

    /// Whether all bodies that were seen are of their schemas.
    pub fn check_schemas(&self, python: &Path) -> Result<()> {
        let cases = std::mem::take(&mut *self.cases.lock().unwrap());
        assert!(!cases.is_empty(), "no body was seen");
        let all = json!({"components": self.root["components"], "cases": cases});
        let mut command = Command::new(python);
        let mut child =
            command.args(["-c", VALIDATE]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(all.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
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

/// What docs/api-versions.md says of operations that will go.
fn check_deprecated(reply: &Reply) -> std::result::Result<(), String> {
    if !reply.header("Deprecation").starts_with('@') {
        return Err("is deprecated, and does not say so (RFC 9745)".to_owned());
    }
    match reply.header("Sunset") {
        "" => Ok(()),
        sunset => match DateTime::parse_from_rfc2822(sunset) {
            Ok(date) if date > Utc::now() => Ok(()),
            Ok(date) => Err(format!("was to go on {date}: remove it")),
            Err(error) => Err(format!("has a Sunset that is no date: {error}")),
        },
    }
}
