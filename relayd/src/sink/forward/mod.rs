// SPDX-License-Identifier: Apache-2.0
//! Forwarding: files go to the upstream as they are, with HTTP PUT over TLS (protocol 2.9, 6.4).
//!
//! Many uploads are under way at a time, each on its own kept-alive connection, so that throughput
//! does not depend on latency. Memory is bounded by the number of deliveries in flight: a small file
//! is held whole, of a large one three parts at most.
//!
//! | file | what |
//! |---|---|
//! | [`upload`](self::upload) | a file as a request body |
//! | [`connection`], [`pool`] | connections, their time-outs, and keeping them |
//! | [`answer`] | what an answer means for the file |
//!
//! How the upstream is reached and trusted is in [`upstream`](crate::upstream).

mod answer;
mod connection;
mod metrics;
mod pool;
mod upload;

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT},
};
use prometheus::Registry;
use protocol::urls::UploadKind;
use zeroize::Zeroizing;

use self::{
    answer::Answer,
    connection::Failure,
    metrics::Metrics,
    pool::Pool,
    upload::{Upload, UploadBody},
};
use crate::{
    config::Upstream,
    metrics::CompatibleMetrics,
    resend::ResendSince,
    spool::{
        Sink, SpoolFile,
        disposition::{Disposition, Outcome, Reason, Rejection, Release},
    },
    upstream::{AGENT, Target, Tls, TlsError, host_header},
};

pub use connection::Limits;

/// The sink of a relay, for one kind of upload.
pub struct Forward {
    kind: UploadKind,
    upstream: Upstream,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    pool: Pool,
    /// Of the TLS settings in use.
    digest: Mutex<[u8; 32]>,
    metrics: Metrics,
    compatible: CompatibleMetrics,
    resend: ResendSince,
}

/// Why forwarding cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Certificates, keys, TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host, user or password cannot be sent in HTTP.
    #[error("output.upstream: {0} holds characters that cannot be sent in an HTTP header")]
    Header(&'static str),
    /// A metric is registered twice.
    #[error("metrics of forwarding: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Longest time without a byte moving, and others (design 4.5).
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(10),
    progress: Duration::from_secs(15),
    idle: Duration::from_secs(2),
};

impl Forward {
    /// Reads certificates and prepares requests; connects when there is something to send.
    pub fn new(
        upstream: &Upstream,
        kind: UploadKind,
        compatible: CompatibleMetrics,
        registry: &Registry,
    ) -> Result<Self, ForwardError> {
        let limits = Limits { idle: upstream.idle_timeout, ..LIMITS };
        Self::with_limits(upstream, kind, limits, compatible, registry)
    }

    /// As [`Forward::new`], with other time-outs.
    pub fn with_limits(
        upstream: &Upstream,
        kind: UploadKind,
        limits: Limits,
        compatible: CompatibleMetrics,
        registry: &Registry,
    ) -> Result<Self, ForwardError> {
        let tls = Tls::load(upstream)?;
        let target = Target::new(upstream, tls.verify_host);
        Ok(Self {
            kind,
            upstream: upstream.clone(),
            host: host_header(upstream).ok_or(ForwardError::Header("host"))?,
            authorization: authorization(upstream, kind)?,
            pool: Pool::new(target, tls.connector, limits),
            digest: Mutex::new(tls.digest),
            metrics: Metrics::new(kind, registry)?,
            compatible,
            resend: ResendSince::default(),
        })
    }

    /// The same, telling `resend` what the upstream asks for.
    pub fn telling(self, resend: ResendSince) -> Self {
        Self { resend, ..self }
    }

    /// Reads the certificate files again. On error those read earlier stay in use.
    pub fn reload(&self) -> Result<(), ForwardError> {
        let tls = Tls::load(&self.upstream)?;
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if *digest != tls.digest {
            *digest = tls.digest;
            self.pool.replace_tls(tls.connector, tls.verify_host);
        }
        Ok(())
    }

    async fn upload(&self, file: &SpoolFile) -> Disposition {
        let upload = match Upload::open(file).await {
            Ok(upload) => upload,
            Err(e) => return unreadable(&e),
        };
        match self.exchange(file, &upload).await {
            Ok(answer) => {
                self.metrics.answered(answer.status);
                if answer.status.is_success() {
                    self.metrics.bytes.inc_by(upload.size());
                    if self.kind == UploadKind::RunLog {
                        self.resend.heed(answer.resend_since);
                    }
                }
                answer.disposition()
            }
            Err(failure) => {
                self.metrics.failed();
                let outlet_down = !matches!(failure, Failure::File(_));
                Disposition::Released(Release {
                    outlet_down,
                    detail: failure.to_string(),
                    retry_after: None,
                    is_usual: false,
                })
            }
        }
    }

    async fn exchange(&self, file: &SpoolFile, upload: &Upload) -> Result<Answer, Failure> {
        let path = self.kind.path(file.name.as_str());
        let (connection, reused) = self.pool.take().await?;
        let answered = connection.send(self.request(&path, upload)?, upload).await;
        let (answer, connection) = match answered {
            // The upstream may close an idle connection at any moment; a PUT may be sent again.
            Err(Failure::Lost(_)) if reused => {
                self.pool.open().await?.send(self.request(&path, upload)?, upload).await?
            }
            answered => answered?,
        };
        if let Some(connection) = connection {
            self.pool.give_back(connection);
        }
        Ok(answer)
    }

    fn request(&self, path: &str, upload: &Upload) -> Result<Request<UploadBody>, Failure> {
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header(HOST, self.host.clone())
            // Also when it is 0, which hyper would leave out.
            .header(CONTENT_LENGTH, upload.size())
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(upload.body()).map_err(|e| Failure::File(format!("no URL can be made of its name: {e}")))
    }
}

impl Sink for Forward {
    async fn deliver(&self, file: &SpoolFile) -> Disposition {
        let begun = Instant::now();
        let disposition = self.upload(file).await;
        if matches!(disposition, Disposition::Accepted(Outcome::Forwarded) | Disposition::Rejected(_)) {
            self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        }
        disposition
    }

    fn settled(&self, disposition: &Disposition) {
        let status = match disposition {
            Disposition::Accepted(Outcome::Vanished) | Disposition::Released(_) => return,
            Disposition::Accepted(_) => "forward_ok",
            Disposition::Rejected(_) => "forward_error",
        };
        match self.kind {
            UploadKind::RunLog => &self.compatible.reports,
            UploadKind::NewInventory | UploadKind::InventoryUpdate => &self.compatible.inventories,
        }
        .with_label_values(&[status])
        .inc();
    }
}

fn unreadable(e: &io::Error) -> Disposition {
    let rejected = |reason, maybe_incomplete| {
        Disposition::Rejected(Rejection { reason, detail: e.to_string(), maybe_incomplete })
    };
    let looped = rustix::io::Errno::LOOP.raw_os_error();
    match e.kind() {
        io::ErrorKind::NotFound => Disposition::Accepted(Outcome::Vanished),
        io::ErrorKind::InvalidInput => rejected(Reason::NotAFile, false),
        _ if e.raw_os_error() == Some(looped) => rejected(Reason::NotAFile, false),
        _ if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            rejected(Reason::Unreadable, false)
        }
        // No permission, no descriptors, cut short by somebody: may be better later.
        _ => {
            let detail = format!("cannot read the file: {e}");
            Disposition::Released(Release { outlet_down: false, detail, retry_after: None, is_usual: false })
        }
    }
}

/// Basic authentication (RFC 7617): new inventories have their own password (protocol 6.4).
fn authorization(upstream: &Upstream, kind: UploadKind) -> Result<Option<HeaderValue>, ForwardError> {
    let (user, password) = match kind {
        UploadKind::NewInventory => ("rudder", Some(upstream.default_password.as_str())),
        UploadKind::RunLog | UploadKind::InventoryUpdate => {
            (upstream.user.as_str(), upstream.password.as_deref().map(String::as_str))
        }
    };
    let Some(password) = password else { return Ok(None) };
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let pair = Zeroizing::new(openssl::base64::encode_block(pair.as_bytes()));
    let text = Zeroizing::new(format!("Basic {}", *pair));
    let mut value = HeaderValue::from_str(&text).map_err(|_| ForwardError::Header("password"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
