// SPDX-License-Identifier: Apache-2.0
//! The walk: requests to operations, whose answers have to be those that the documents describe.

use tests::{Result, client::Reply};

use super::{
    ask::{Ask, To},
    document::Document,
};

/// Both documents.
pub struct Walk {
    /// Of the local API.
    pub local: Document,
    /// Of the gateway.
    pub gateway: Document,
}

impl Walk {
    /// Reads them.
    pub fn new() -> Result<Self> {
        Ok(Self { local: Document::load("local.json")?, gateway: Document::load("gateway.json")? })
    }
}

impl Document {
    /// Sends a request; its answer has to have this status and be as described.
    pub fn expect(&self, status: u16, id: &str, to: &To, ask: &Ask) -> Result<Reply> {
        let operation = self.operation(id)?;
        let reply = ask.send(operation, to).map_err(|e| format!("{id}, for a {status}: {e}"))?;
        if reply.status != status {
            let said = String::from_utf8_lossy(&reply.body);
            return Err(format!("{id}: {} instead of {status}: {said}", reply.status).into());
        }
        self.check(id, &reply)?;
        Ok(reply)
    }

    /// The same at all paths of the operation, with and without version, and with its `HEAD`; gives the first.
    pub fn expect_all(&self, status: u16, id: &str, to: &To, ask: &Ask) -> Result<Reply> {
        let mut first = None;
        for id in self.siblings(id) {
            let reply = self.expect(status, &id, to, ask)?;
            first.get_or_insert(reply);
        }
        first.ok_or_else(|| format!("there is no operation {id}").into())
    }
}
