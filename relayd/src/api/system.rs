// SPDX-License-Identifier: Apache-2.0
//! `system/info`, `system/status`, `system/reload` (protocol 7.3) and `/metrics` (7.7).

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use prometheus::TextEncoder;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::task::spawn_blocking;
use warp::{Filter, filters::BoxedFilter, http::StatusCode, reply::Response};

use super::{
    ApiHandles,
    answer::{NoData, Outcome, answer, envelope, internal_error},
};
use crate::{config::load, status::Overview};

/// The endpoints below the prefix.
pub fn routes(handles: Arc<ApiHandles>) -> BoxedFilter<(Response,)> {
    let with = warp::any().map(move || handles.clone());
    let info = warp::path!("system" / "info").and(warp::get()).map(info);
    let status = warp::path!("system" / "status")
        .and(warp::get())
        .and(with.clone())
        .and_then(async |handles: Arc<ApiHandles>| Ok::<_, Infallible>(status(handles).await));
    let reload = warp::path!("system" / "reload")
        .and(warp::post())
        .and(with)
        .and_then(async |handles: Arc<ApiHandles>| Ok::<_, Infallible>(reload(&handles).await));
    info.or(status).unify().or(reload).unify().boxed()
}

/// `GET /metrics`.
pub fn metrics(handles: Arc<ApiHandles>) -> BoxedFilter<(Response,)> {
    warp::path!("metrics")
        .and(warp::get())
        .map(move || handles.clone())
        .and_then(async |handles: Arc<ApiHandles>| Ok::<_, Infallible>(measured(handles).await))
        .boxed()
}

/// Gathering looks at disks, so it blocks.
async fn measured(handles: Arc<ApiHandles>) -> Response {
    let text = move || TextEncoder::new().encode_to_string(&handles.registry.gather());
    match spawn_blocking(text).await {
        Ok(Ok(text)) => answer(StatusCode::OK, "text/plain; version=0.0.4", text),
        Ok(Err(error)) => internal_error(&error),
        Err(error) => internal_error(&error),
    }
}

/// Which program this is.
#[derive(Serialize, JsonSchema)]
pub struct Info {
    /// Major and minor version.
    #[serde(rename = "major-version")]
    major: &'static str,
    /// The whole version.
    #[serde(rename = "full-version")]
    full: &'static str,
}

fn info() -> Response {
    let major = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    envelope("getSystemInfo", Ok(Some(Info { major, full: env!("CARGO_PKG_VERSION") })))
}

/// The state of the server: the members of the protocol first, then ours.
#[derive(Serialize, JsonSchema)]
pub struct Status {
    /// Whether the database can be read, where run logs are stored in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Entry>,
    /// Whether the configuration as it is on disk now is valid.
    configuration: Entry,
    /// Version of OpenSSL.
    openssl: &'static str,
    /// What each daemon tells of itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    overview: Option<Overview>,
    /// Other parts of the server, each with a `status` of its own: `reports`, `inventories` and
    /// `inventory-updates` (files that wait, with the age of the oldest), `nodes`, `cache`.
    #[serde(flatten)]
    more: BTreeMap<&'static str, Value>,
}

/// The state of a part of the server.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StatusEntry")]
pub struct Entry {
    /// Whether it is as it should be.
    status: Outcome,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

impl From<Result<(), String>> for Entry {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self { status: Outcome::Success, details: None },
            Err(details) => Self { status: Outcome::Error, details: Some(details) },
        }
    }
}

async fn status(handles: Arc<ApiHandles>) -> Response {
    match spawn_blocking(move || state(&handles)).await {
        Ok(status) => envelope("getStatus", Ok(Some(status))),
        Err(error) => internal_error(&error),
    }
}

/// Looks at everything. Blocks: at disks, and as long as the check of the database may take.
fn state(handles: &ApiHandles) -> Status {
    let configuration = load::check(&handles.configuration).map(drop).map_err(|error| error.to_string());
    Status {
        database: handles.database.as_ref().map(|check| check().into()),
        configuration: configuration.into(),
        openssl: openssl::version::version(),
        overview: handles.overview.as_ref().map(|overview| overview()),
        more: handles.status.iter().map(|(name, status)| (*name, status())).collect(),
    }
}

async fn reload(handles: &ApiHandles) -> Response {
    let outcome = handles.reload.reload().await;
    envelope("reloadConfiguration", outcome.map(|()| None::<NoData>).map_err(|error| error.to_string()))
}
