// SPDX-License-Identifier: Apache-2.0
//! The API's listener: connections are bounded in number, header size and header time.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use warp::{filters::BoxedFilter, reply::Response};

use super::metrics::{ApiMetrics, endpoint};
use crate::{
    config::LocalAddress,
    http::request_id::{self, REQUEST_ID},
    service_manager::PassedSockets,
};

const MOST_CONNECTIONS: usize = 256;
const HEADER_TIME: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 16 * 1024;
/// Longest wait for requests under way when stopping; the daemon's grace period bounds it as well.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the address cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not possible.
    #[error("cannot listen on {address}: {source}; stop what uses it, or change general.listen")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Another process answers on the socket.
    #[error("{0} is in use by a running process; stop it, or change general.listen")]
    InUse(PathBuf),
    /// A metric is registered twice.
    #[error("metrics of the local API: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Something that is not a socket is in the way.
    #[error("{0} exists and is not a socket; remove it, or change general.listen")]
    NotASocket(PathBuf),
    /// The configuration only lets loopback through; so does this.
    #[error("{0} is not a loopback address; the local API has no authentication of its own")]
    NotLoopback(SocketAddr),
}

/// A bound listener.
pub enum Listener {
    /// Loopback.
    Tcp(TcpListener),
    /// A Unix socket; its file is removed in the end if it is this program's.
    Unix(UnixListener, Option<PathBuf>),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Binds, unless the service manager has done so.
    pub async fn bind(address: &LocalAddress, passed: &mut PassedSockets) -> Result<Self, BindError> {
        let failed = |address: String| move |source| BindError::Bind { address, source };
        match address {
            LocalAddress::Tcp(tcp) if tcp.ip().is_loopback() => {
                if let Some(listener) = passed.take_tcp(*tcp).pop() {
                    return TcpListener::from_std(listener).map(Self::Tcp).map_err(failed(tcp.to_string()));
                }
            }
            LocalAddress::Tcp(_) => {}
            LocalAddress::Unix(path) => {
                if let Some(listener) = passed.take_unix(path) {
                    let listener = UnixListener::from_std(listener);
                    let listener = listener.map_err(failed(path.display().to_string()))?;
                    return Ok(Self::Unix(listener, None));
                }
            }
        }
        match address {
            LocalAddress::Tcp(address) if !address.ip().is_loopback() => {
                Err(BindError::NotLoopback(*address))
            }
            LocalAddress::Tcp(address) => {
                Ok(Self::Tcp(TcpListener::bind(address).await.map_err(failed(address.to_string()))?))
            }
            LocalAddress::Unix(path) => {
                let text = path.display().to_string();
                remove_stale(path).await?;
                let listener = UnixListener::bind(path).map_err(failed(text.clone()))?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed(text))?;
                Ok(Self::Unix(listener, Some(path.clone())))
            }
        }
    }

    /// The address of a TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }

    /// Serves until stopped, then lets the requests under way finish.
    pub async fn serve(self, routes: BoxedFilter<(Response,)>, metrics: ApiMetrics, stop: CancellationToken) {
        let service = TowerToHyperService::new(warp::service(routes));
        let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let connections = GracefulShutdown::new();
        while let Some((slot, accepted)) = stop
            .run_until_cancelled(async { (slots.clone().acquire_owned().await, self.accept().await) })
            .await
        {
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    warn!("local API cannot accept connections: {error}");
                    // Descriptors are exhausted: without a pause this loop would spin.
                    stop.run_until_cancelled(sleep(Duration::from_secs(1))).await;
                    continue;
                }
            };
            let (routes, metrics) = (service.clone(), metrics.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let id = request_id::of(request.headers());
                let (endpoint, metrics) = (endpoint(request.uri().path()), metrics.clone());
                let answer = request_id::within(id.clone(), routes.call(request));
                async move {
                    let mut response = answer.await?;
                    metrics.answered(endpoint, response.status());
                    response.headers_mut().insert(REQUEST_ID, id);
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = connection.await {
                    debug!("local API connection: {error}");
                }
            });
        }
        // Nobody new gets in while the last ones are served.
        if let Self::Unix(listener, path) = self {
            drop(listener);
            path.map(fs::remove_file);
        }
        if timeout(DRAIN, connections.shutdown()).await.is_err() {
            warn!("local API: requests under way were cut off");
        }
    }
}

/// Removes the socket file of a process that is gone.
async fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()), // bind says what is wrong, if anything is
        Ok(metadata) if !metadata.file_type().is_socket() => Err(BindError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).await.is_ok() => Err(BindError::InUse(path.to_owned())),
        Ok(_) => fs::remove_file(path)
            .map_err(|source| BindError::Bind { address: path.display().to_string(), source }),
    }
}
