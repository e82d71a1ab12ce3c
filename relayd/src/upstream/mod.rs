// SPDX-License-Identifier: Apache-2.0
//! The server above: how it is reached and trusted, and requests that are passed up to it.
//!
//! | file | what |
//! |---|---|
//! | [`trust`], [`renewal`] | TLS settings from files, which may be replaced |
//! | [`connect`](self::connect()), [`progress`] | TCP and TLS within their times; whether bytes move |
//! | [`connection`](self::connection), [`pool`] | one connection and one request on it; those that are kept |
//! | [`retry_after`](self::retry_after()) | how long it wants to be left alone |
//! | [`client`] | requests in need of an answer, over a few connections that are kept |
//! | [`stream`] | those of any size |
//!
//! Uploads have connections of their own, in [`forward`](crate::sink::forward).

mod client;
mod connect;
mod connection;
mod metrics;
mod pool;
mod progress;
pub mod renewal;
mod retry_after;
mod stream;
mod trust;

use std::{error::Error, io, path::PathBuf};

use hyper::header::HeaderValue;

pub use self::{
    client::{ClientError, Failure, FetchLimits, Fetched, MOST_PASSING, Passed, UpstreamClient},
    connect::{ConnectError, ConnectLimits, Target, connect},
    progress::{Activity, Watched},
    retry_after::retry_after,
    stream::{MOST_STREAMS, NO_PROGRESS},
    trust::{Tls, files},
};
use crate::config::Upstream;

/// How this program names itself to the upstream.
pub const AGENT: HeaderValue = HeaderValue::from_static(concat!("relayd/", env!("CARGO_PKG_VERSION")));

/// Why the upstream cannot be talked to with the configured files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file.
    #[error("cannot use {path}: {error}; needed to talk to the upstream, see [output.upstream]")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// OpenSSL refused the settings.
    #[error("TLS settings for the upstream: {0}; do certificate and key belong together?")]
    Settings(#[from] openssl::error::ErrorStack),
}

/// The `Host` header for the upstream; `None` when its name cannot be sent in HTTP.
pub fn host_header(upstream: &Upstream) -> Option<HeaderValue> {
    let Upstream { host, port, .. } = upstream;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let text = if *port == 443 { host } else { format!("{host}:{port}") };
    HeaderValue::try_from(text).ok()
}

/// An error with all that caused it.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
