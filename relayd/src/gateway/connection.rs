// SPDX-License-Identifier: Apache-2.0
//! One connection, from handshake to close.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor};
use protocol::tls;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

pub use super::guarded_io::Limits;
use super::{
    client::Peer,
    guarded_io::{Activity, GuardedIo},
    service::Service,
    tls::Acceptor,
};
use crate::http::held;

/// Head of a request, and so the read buffer of each connection.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long, and for how many bytes, a peer that still sends is listened to after the answer: a
/// connection closed on unread bytes is reset, and the answer may be lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// Serves a connection until either side closes it, or `stop` and the request under way is done.
pub async fn serve(
    tcp: TcpStream,
    address: SocketAddr,
    acceptor: Arc<Acceptor>,
    service: Arc<Service>,
    limits: Limits,
    stop: CancellationToken,
) {
    // In this order: of two that do not fit together the connection is closed, not kept.
    let closures = service.connections().closures();
    let acceptor = acceptor.current();
    let handshake = tokio::select! {
        handshake = timeout(limits.header_timeout, handshake(tcp, &acceptor)) => handshake,
        () = stop.cancelled() => return,
    };
    // The acceptor may be replaced during the life of the connection.
    drop(acceptor);
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return service.handshake_failed(address, &error),
        Err(_) => return service.handshake_failed(address, &"it took too long"),
    };
    service.metrics().handshakes.inc();
    let ssl = stream.ssl();
    let verified = tls::is_vouched_for(ssl);
    let peer = Arc::new(Peer::new(address, ssl.peer_certificate(), verified));
    // Left when this function returns.
    let entered = service.connections().enter(&peer, closures);
    let revoked = async {
        match &entered {
            Some(entered) => entered.revoked().await,
            None => pending().await,
        }
    };
    tokio::pin!(revoked);
    let activity = Arc::new(Activity::default());
    let io = GuardedIo::new(stream, limits, activity.clone());
    let handler = service_fn(|request: Request<Incoming>| {
        let (service, peer, activity, stop) = (service.clone(), peer.clone(), activity.clone(), stop.clone());
        // Boxed, because only what can be moved can be polled without closing the stream.
        Box::pin(async move {
            let working = activity.begin();
            let response = service.answer(&peer, request, &activity, &stop).await;
            // A stream is worked on until its end; what is there already is the client's to take.
            let streams = response.body().size_hint().exact().is_none();
            Ok::<_, Infallible>(if streams { response.map(|body| held(body, working)) } else { response })
        })
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), handler);
    let serving = async {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => return ended,
            () = stop.cancelled() => {}
        }
        Pin::new(&mut connection).graceful_shutdown();
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await
    };
    let ended = tokio::select! {
        biased;
        // The request under way ends where it is.
        () = &mut revoked => Ok(()),
        ended = serving => ended,
    };
    if activity.was_malformed() {
        service.malformed(address);
    } else if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "connection ended");
    }
    let stream = connection.into_parts().io.into_inner().into_inner();
    // The peer may be gone: nothing to be done about any error here.
    let _ = timeout(LINGER, close(stream, activity.must_linger())).await;
}

async fn handshake(tcp: TcpStream, acceptor: &SslAcceptor) -> io::Result<SslStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, tcp)?;
    Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
    Ok(stream)
}

async fn close(mut stream: SslStream<TcpStream>, linger: bool) -> io::Result<()> {
    stream.shutdown().await?;
    if linger {
        // Below TLS: nobody will look at it.
        tokio::io::copy(&mut stream.get_mut().take(LINGER_BYTES), &mut tokio::io::sink()).await?;
    }
    Ok(())
}
