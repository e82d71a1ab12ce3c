// SPDX-License-Identifier: Apache-2.0
//! What a node gets of what was sent to it: the list, a file, its metadata (protocol 15.2). Only that node and
//! the policy servers above it come this far; the rule table sees to that.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH,
        IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
    },
};
use protocol::shared_file::{Address, AddressError, List, Name, PATH, address::METADATA};
use tokio::task::spawn_blocking;

use super::{SharedFiles, passed, store::Found};
use crate::{
    http::{Body, Call, Caller, Problem, whole},
    upstream::FetchLimits,
};

/// Of a list from the server above.
const LIST: FetchLimits =
    FetchLimits { answer: Duration::from_secs(10), pause: Duration::from_secs(10), body: 8 << 20 };
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
            tracing::error!(%target, "cannot list shared files: {error}");
            Problem::Internal
        })?;
        let incomplete = (!all).then(|| "there are more files than a list holds".to_owned());
        let mut list = List { files, incomplete };
        if self.is_asked_above(call) {
            list.merge(self.list_above(&target).await);
        }
        let json = serde_json::to_vec(&list).map_err(|_| Problem::Internal)?;
        Ok(answer([json, b"\n".to_vec()].concat(), JSON))
    }

    /// What the server above has for the target.
    async fn list_above(&self, target: &Name) -> List {
        let unknown = |why: String| List { files: Vec::new(), incomplete: Some(why) };
        let Some(upstream) = &self.upstream else { return List::default() };
        match upstream.fetch(&format!("{PATH}/{target}/"), HeaderMap::new(), LIST).await {
            Ok(answer) if answer.status == StatusCode::OK => serde_json::from_slice(&answer.body)
                .unwrap_or_else(|_| unknown("the server above gave something else than a list".into())),
            // An older server, or one to which this node is not below this relay.
            Ok(answer) => unknown(format!("the server above answered {}", answer.status)),
            Err(error) => unknown(format!("the server above cannot be asked: {error}")),
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
            Some(Found { metadata, .. }) if of_metadata => Ok(answer(metadata.to_string().into(), TEXT)),
            Some(Found { content, .. }) => {
                Ok(self.files.answer(&call.method, &call.headers, content, OCTETS).await)
            }
            None if self.is_asked_above(call) => self.from_above(&address, of_metadata, call).await,
            None => Err(Problem::NotFound),
        }
    }

    async fn from_above(
        &self,
        address: &Address,
        of_metadata: bool,
        call: &Call,
    ) -> Result<Response<Body>, Problem> {
        let upstream = self.upstream.as_ref().ok_or(Problem::NotFound)?;
        let path = format!("{PATH}/{address}{}", if of_metadata { METADATA } else { "" });
        let headers = passed(&call.headers, &[IF_NONE_MATCH, IF_MATCH, RANGE, IF_RANGE]);
        let nothing = Empty::new().map_err(|never| match never {}).boxed();
        let answer = upstream.stream(Method::GET, &path, &headers, nothing).await;
        let answer = answer.map_err(|error| Problem::BadGateway(format!("the server above: {error}")))?;
        let (head, body) = answer.into_parts();
        let known = matches!(head.status.as_u16(), 200 | 206 | 304 | 404 | 412 | 416);
        if !known {
            return Err(Problem::BadGateway(format!("the server above answered {}", head.status)));
        }
        let kept = [ETAG, LAST_MODIFIED, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ACCEPT_RANGES];
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = passed(&head.headers, &kept);
        Ok(response)
    }

    /// An operator asks this server; a node asks the tree.
    fn is_asked_above(&self, call: &Call) -> bool {
        self.upstream.is_some() && matches!(call.caller, Caller::Node(_))
    }
}

fn answer(content: Vec<u8>, kind: HeaderValue) -> Response<Body> {
    let length = content.len();
    let mut response = Response::new(whole(content));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}
