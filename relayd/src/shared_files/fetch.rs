// SPDX-License-Identifier: Apache-2.0
//! What a node gets of what was sent to it: the list, a file, its metadata (protocol 15.2). Only that node and
//! the policy servers above it come this far; the rule table sees to that.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{HeaderValue, WARNING},
};
use openssl::sha::sha256;
use protocol::shared_file::{Address, AddressError, List, Metadata, Name, PATH, address::METADATA, metadata};
use tokio::task::spawn_blocking;

use super::{SharedFiles, store::Found};
use crate::{
    files::{Representation, Tag},
    http::{Body, Call, Caller, Problem},
};

/// Of a list from the server above, in bytes.
const LARGEST_LIST: usize = 8 << 20;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl SharedFiles {
    /// Answers a GET.
    pub(super) async fn fetch(&self, call: &Call) -> Response<Body> {
        let Some((target, wanted)) = call.rest.split_once('/') else {
            return Problem::NotFound.into_response();
        };
        let answered = match (wanted, target.parse::<Name>()) {
            ("", Ok(target)) => self.list(target, call).await,
            ("", Err(_)) => Err(Problem::NotFound),
            (_, _) => self.file(call).await,
        };
        answered.unwrap_or_else(Problem::into_response)
    }

    async fn list(&self, target: Name, call: &Call) -> Result<Response<Body>, Problem> {
        let (store, now) = (self.store.clone(), self.now());
        let asked = target.clone();
        let listed = spawn_blocking(move || store.list(&asked, now)).await;
        let (files, all) = listed.map_err(std::io::Error::other).flatten().map_err(|error| {
            tracing::error!(node_id = %target, "cannot list shared files: {error}");
            Problem::Internal
        })?;
        let incomplete = (!all).then(|| "there are more files than a list holds".to_owned());
        let mut list = List { files, incomplete };
        if self.is_asked_above(call) {
            list.merge(self.list_above(&target).await);
            // A copy of the list may be older than that.
            list.files.retain(|file| file.expires.is_none_or(|expires| expires >= now));
        }
        let json = serde_json::to_vec(&list).map_err(|_| Problem::Internal)?;
        Ok(answer(call, [json, b"\n".to_vec()].concat(), JSON))
    }

    /// What the server above has for the target, or had when it was asked last.
    async fn list_above(&self, target: &Name) -> List {
        let unknown = |why: String| List { files: Vec::new(), incomplete: Some(why) };
        match self.read_above(&format!("{PATH}/{target}/"), LARGEST_LIST).await {
            Ok((json, is_stale)) => {
                let mut list: List = serde_json::from_slice(&json)
                    .unwrap_or_else(|_| unknown("the server above gave something else than a list".into()));
                if is_stale {
                    let why = "the server above does not answer, this is what it had before";
                    list.incomplete.get_or_insert_with(|| why.into());
                }
                list
            }
            // An older server, or one to which this node is not below this relay.
            Err(why) => unknown(why),
        }
    }

    async fn file(&self, call: &Call) -> Result<Response<Body>, Problem> {
        let (path, of_metadata) = match call.rest.strip_suffix(METADATA) {
            Some(path) => (path, true),
            None => (&*call.rest, false),
        };
        let address = Address::from_url(path).map_err(|error| match error {
            AddressError::Shape => Problem::NotFound,
            _ => Problem::BadRequest(error.to_string()),
        })?;
        let (store, now) = (self.store.clone(), self.now());
        let asked = address.clone();
        let found = spawn_blocking(move || store.find(&asked, now)).await;
        let found = found.map_err(std::io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::error!(%address, "cannot read a shared file: {error}");
            None
        });
        match found {
            Some(Found { metadata, .. }) if of_metadata => {
                Ok(answer(call, metadata.to_string().into(), TEXT))
            }
            Some(Found { content, .. }) => {
                Ok(self.files.answer(&call.method, &call.headers, content, || OCTETS).await)
            }
            None if self.is_asked_above(call) => self.ask_above(&address, of_metadata, call).await,
            None => Err(Problem::NotFound),
        }
    }

    /// What the server above has, unless its time is over: a copy may be older than that.
    async fn ask_above(
        &self,
        address: &Address,
        of_metadata: bool,
        call: &Call,
    ) -> Result<Response<Body>, Problem> {
        let cache = self.cache.as_ref().ok_or(Problem::NotFound)?;
        let plain =
            cache.answer(&format!("{PATH}/{address}{METADATA}"), &Method::GET, &HeaderMap::new()).await;
        if plain.status() != StatusCode::OK {
            return Ok(plain);
        }
        let text = Limited::new(plain.into_body(), metadata::MAX_SIZE).collect().await;
        let metadata =
            text.ok().and_then(|text| Metadata::parse(&text.to_bytes()).ok()).ok_or_else(|| {
                Problem::BadGateway("the server above gave something else than metadata".into())
            })?;
        if metadata.has_expired(self.now()) {
            return Err(Problem::NotFound);
        }
        if of_metadata {
            return Ok(answer(call, metadata.to_string().into(), TEXT));
        }
        Ok(cache.answer(&format!("{PATH}/{address}"), &call.method, &call.headers).await)
    }

    /// A small answer of the server above, and whether it is one that it gave before; or why there is none.
    async fn read_above(&self, path: &str, most: usize) -> Result<(Bytes, bool), String> {
        let cache = self.cache.as_ref().ok_or("this server has no cache (policies.cache)")?;
        let answer = cache.answer(path, &Method::GET, &HeaderMap::new()).await;
        if answer.status() != StatusCode::OK {
            return Err(format!("the server above cannot be asked, or refused: {}", answer.status()));
        }
        let is_stale = answer.headers().contains_key(WARNING);
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(|error| format!("the answer of the server above: {error}"))?;
        Ok((body.to_bytes(), is_stale))
    }

    /// An operator asks this server; a node asks the tree.
    fn is_asked_above(&self, call: &Call) -> bool {
        self.upstream.is_some() && matches!(call.caller, Caller::Node(_))
    }
}

/// Something small, with its tag: a relay and a node below need not fetch it again.
fn answer(call: &Call, content: Vec<u8>, kind: HeaderValue) -> Response<Body> {
    let tag = Some(Tag::of(&sha256(&content)));
    Representation::of_bytes(content, tag, kind).answer(&call.method, &call.headers)
}
