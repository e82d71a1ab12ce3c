// SPDX-License-Identifier: Apache-2.0
//! The documents of the API as they are kept in `api-docs/`, and as they are served.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, StatusCode, header};
use relayd::{
    gateway::access::Listener,
    http::{Call, Caller, Service},
    open_api::{OpenApi, document, examples},
};
use tokio_util::sync::CancellationToken;

/// Compares with a file in `api-docs/`; `UPDATE_GOLDEN=1` rewrites it.
fn assert_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api-docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "api-docs/{name} is stale: the API has changed.\n\
         If the change is wanted: UPDATE_GOLDEN=1 cargo test -p relayd --test downward open_api"
    );
}

#[test]
fn the_kept_documents_are_those_of_the_code() {
    assert_kept("local.json", &document(Listener::Local).to_pretty_json());
    assert_kept("gateway.json", &document(Listener::Gateway).to_pretty_json());
    assert_kept("examples.md", &examples());
}

async fn get(headers: &[(header::HeaderName, &str)]) -> (StatusCode, HeaderMap, Bytes) {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(name, value.parse().unwrap());
    }
    let path = "/rudder/relay-api/1/openapi.json".to_owned();
    let call = Call {
        caller: Caller::Operator,
        method: Method::GET,
        path,
        rest: String::new(),
        query: None,
        headers: all,
        body: Empty::new().map_err(|never| match never {}).boxed(),
        stop: CancellationToken::new(),
    };
    let (head, body) = OpenApi.answer(call).await.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn the_document_is_served_once_to_who_has_it() {
    let (status, headers, body) = get(&[]).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(body, document(Listener::Local).to_pretty_json());
    let tag = headers[header::ETAG].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.len() == 66, "{tag}");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
        let (status, headers, body) = get(&[(header::IF_NONE_MATCH, &known)]).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(headers[header::ETAG], tag);
        assert!(!headers.contains_key(header::CONTENT_TYPE));
    }
    let (status, ..) = get(&[(header::IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(status, StatusCode::OK);
    // Two lines of the header are one list.
    let (status, ..) = get(&[(header::IF_NONE_MATCH, "\"other\""), (header::IF_NONE_MATCH, &tag)]).await;
    assert_eq!(status, StatusCode::NOT_MODIFIED);
}
