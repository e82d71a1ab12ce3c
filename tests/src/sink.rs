// SPDX-License-Identifier: Apache-2.0
//! A policy server that takes every upload and keeps only the names: the far end when a relay is measured.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslVerifyMode};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_openssl::SslStream;

use crate::{Result, identity::Identity};

/// Uploads by name: how often each came.
type Received = Arc<Mutex<HashMap<String, usize>>>;

/// A running sink; ends when dropped.
pub struct Sink {
    address: SocketAddr,
    received: Received,
    _runtime: Runtime,
}

impl Sink {
    /// Listens on a free port, with this identity.
    pub fn start(identity: &Identity) -> Result<Self> {
        let mut tls = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server())?;
        tls.set_certificate(identity.certificate.x509())?;
        tls.set_private_key(&identity.key)?;
        // Asks for a certificate and takes any: what matters here is that the client pays for it.
        tls.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        let tls = tls.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let received = Received::default();
        let shared = received.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, received) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    // A broken connection is the client's to notice.
                    let _ = serve(stream, tls, received).await;
                });
            }
        });
        Ok(Self { address, received, _runtime: runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Different files received.
    pub fn files(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Uploads received, repeated ones included.
    pub fn uploads(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

async fn serve(stream: TcpStream, tls: SslAcceptor, received: Received) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = SslStream::new(Ssl::new(tls.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    let service = service_fn(move |request: Request<Incoming>| {
        let received = received.clone();
        async move {
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let status = match request.into_body().collect().await {
                Ok(_) => {
                    *received.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
                    StatusCode::CREATED
                }
                Err(_) => StatusCode::BAD_REQUEST,
            };
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = status;
            Ok::<_, Infallible>(answer)
        }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}
