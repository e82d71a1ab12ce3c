// SPDX-License-Identifier: Apache-2.0
//! Conditional requests to the policy server: what is there, is it what this node has, or what it has refused.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
};

use hyper::{HeaderMap, Method, StatusCode, header};
use protocol::triggers::News;

use super::{UpdateError, slot::Slot};
use crate::{
    enrol::words,
    server::{download::Download, session::Session},
};

/// Entity tags of what need not be sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tags<'a> {
    /// Of what is in use.
    pub active: Option<&'a str>,
    /// Of what was tried and did not pass.
    pub refused: Option<&'a str>,
}

/// What the server says.
#[derive(Debug)]
pub enum Told {
    /// That what is in use is what it has.
    Active,
    /// That it has what did not pass.
    Refused,
    /// Something else; on its way, unless only its head was asked for.
    New(Box<Download>),
    /// That it has nothing.
    NotThere,
}

/// A conversation about policies.
pub struct Fetch<'a> {
    session: Session<'a>,
    /// Bytes of bodies received.
    pub received: u64,
    /// Entity tag of the last manifest that came.
    pub judged: Option<String>,
}

impl<'a> Fetch<'a> {
    /// Over this session.
    pub fn new(session: Session<'a>) -> Self {
        Self { session, received: 0, judged: None }
    }

    /// The session.
    pub fn session(&self) -> &Session<'a> {
        &self.session
    }

    /// Asks whether runs wait for this node.
    pub async fn news(&mut self) -> Option<News> {
        self.session.news().await
    }

    /// Asks for something, if it is not one of those.
    pub async fn ask(&mut self, method: Method, path: &str, tags: Tags<'_>) -> Result<Told, UpdateError> {
        let known: Vec<&str> = [tags.active, tags.refused].into_iter().flatten().collect();
        let mut headers = HeaderMap::new();
        if let Ok(value) = known.join(", ").parse()
            && !known.is_empty()
        {
            headers.insert(header::IF_NONE_MATCH, value);
        }
        let answer = self.session.send(method, path, headers).await?;
        match answer.status {
            StatusCode::OK => Ok(Told::New(Box::new(answer))),
            StatusCode::NOT_MODIFIED if !known.is_empty() => {
                let tag = answer.header(header::ETAG).map(opaque);
                let is_refused = tags.refused.is_some_and(|refused| match tag {
                    Some(tag) => tag == opaque(refused),
                    None => tags.active.is_none(),
                });
                Ok(if is_refused { Told::Refused } else { Told::Active })
            }
            StatusCode::NOT_FOUND => Ok(Told::NotThere),
            _ => {
                let reply = answer.reply().await;
                let what = words::answered(reply.status, &reply.detail());
                Err(UpdateError::Answered { path: path.to_owned(), what })
            }
        }
    }

    /// A small body, in memory.
    pub async fn bytes(&mut self, answer: Download, limit: u64) -> Result<Vec<u8>, UpdateError> {
        let bytes = answer.bytes(limit).await?;
        self.received += bytes.len() as u64;
        Ok(bytes)
    }

    /// Writes a body to `to`, no more than `limit` bytes.
    pub async fn save(
        &mut self,
        answer: Download,
        to: &mut impl io::Write,
        limit: u64,
    ) -> Result<u64, UpdateError> {
        let size = answer.save(to, limit).await?;
        self.received += size;
        Ok(size)
    }

    /// Keeps a body on the disk, beside the directory it is for, in a file without a name: nothing is left of it,
    /// whatever happens.
    pub async fn spool(&mut self, answer: Download, slot: &Slot, limit: u64) -> Result<File, UpdateError> {
        let path = slot.beside(".download");
        let _ = fs::remove_file(&path);
        crate::durable::create_parent(&path).map_err(UpdateError::Disk)?;
        let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let mut file = opened.map_err(|e| UpdateError::Disk(super::slot::named(&path, e)))?;
        fs::remove_file(&path).map_err(UpdateError::Disk)?;
        self.save(answer, &mut file, limit).await?;
        Ok(file)
    }
}

/// The tag that an answer came with.
pub fn tag_of(answer: &Download) -> Option<String> {
    answer.header(header::ETAG).filter(|tag| is_tag(tag)).map(str::to_owned)
}

/// Whether it is one tag (RFC 9110, 8.8.3): not several, nor `*`, which would stand for what never came.
fn is_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    text.len() <= 1024 && inner.is_some_and(|inner| !inner.contains('"'))
}

/// Weak or not, it names the same thing.
pub fn opaque(tag: &str) -> &str {
    tag.trim().trim_start_matches("W/")
}

#[cfg(test)]
mod tests {
    use super::is_tag;

    #[test]
    fn a_tag_is_one() {
        assert!(["\"a\"", "W/\"a\"", "\"\"", "\"a,b\""].into_iter().all(is_tag));
        let long = format!("\"{}\"", "a".repeat(1023));
        assert!(!["", "*", "a", "\"", "\"a\", \"b\"", "w/\"a\"", &long].into_iter().any(is_tag));
    }
}
