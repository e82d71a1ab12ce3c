// SPDX-License-Identifier: Apache-2.0
//! `GET /rudder/relay-api/1/openapi.json`: the document of the local API, with an entity tag.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH},
};

use super::document::document;
use crate::{
    gateway::access::Listener,
    http::{Body, Call, Service, empty, whole},
};

/// Answers with the document.
#[derive(Debug, Default)]
pub struct OpenApi;

struct Served {
    json: Bytes,
    tag: HeaderValue,
}

/// Made when it is first asked for.
static LOCAL: LazyLock<Served> = LazyLock::new(|| {
    let json = document(Listener::Local).to_pretty_json();
    let digest = openssl::sha::sha256(json.as_bytes());
    let tag = format!("\"{}\"", hex::encode(digest));
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes");
    Served { json: json.into(), tag }
});

impl Service for OpenApi {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        let Served { json, tag } = &*LOCAL;
        let mut response = if has_it(&call.headers, tag) {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let mut response = Response::new(whole(json.clone()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        };
        response.headers_mut().insert(ETAG, tag.clone());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        async { response }.boxed()
    }
}

/// Whether the client has this version (RFC 9110, 13.1.2; weak comparison).
fn has_it(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|line| line.to_str().ok());
    let mut tags = tags.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}
