// SPDX-License-Identifier: Apache-2.0
//! Calls of operators to the services that answer nodes on the gateway.

use bytes::Buf;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Response as HttpResponse,
    body::{Body as _, Frame},
    header::CONTENT_LENGTH,
};
use tokio_util::sync::CancellationToken;
use warp::{
    Filter, Rejection,
    http::{HeaderMap, Method},
    path::FullPath,
    reply::{Reply, Response},
};

use crate::{
    gateway::access,
    http::{Body, Call, Caller, Services},
};

/// Answers what the rule table leaves to a service; rejects (leaves to the other routes) all else.
pub fn route(
    services: Services,
    stop: CancellationToken,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let query = warp::query::raw().map(Some).or(warp::any().map(|| None)).unify();
    let called = warp::method()
        .and(warp::path::full())
        .and_then(async |method: Method, path: FullPath| {
            let found = access::local_call(&method, path.as_str());
            found.map(|(kind, rest)| (method, path, kind, rest)).ok_or_else(warp::reject::reject)
        })
        .untuple_one();
    called.and(query).and(warp::header::headers_cloned()).and(warp::body::stream()).then(
        move |method, path: FullPath, kind, rest, query, headers: HeaderMap, body| {
            let (services, stop) = (services.clone(), stop.clone());
            async move {
                let Some(service) = services.get(kind) else { return super::answer::not_found() };
                let (path, body) = (path.as_str().to_owned(), request_body(body));
                let caller = Caller::Operator;
                let call = Call { caller, method, path, rest, query, headers, body, stop };
                reply(service.answer(call).await)
            }
        },
    )
}

fn request_body(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Sync + 'static,
) -> crate::http::RequestBody {
    let frames = body
        .map_ok(|mut piece| Frame::data(piece.copy_to_bytes(piece.remaining())))
        .map_err(|error| Box::new(error) as _);
    StreamBody::new(frames).boxed()
}

fn reply(answer: HttpResponse<Body>) -> Response {
    let (head, body) = answer.into_parts();
    let length = body.size_hint().exact();
    let mut response = match length {
        Some(0) => Response::default(),
        _ => warp::reply::stream(body.into_data_stream()).into_response(),
    };
    (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
    if let Some(length) = length.filter(|length| *length > 0) {
        // A stream does not know its length.
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}
