// SPDX-License-Identifier: Apache-2.0
//! Both listeners of a server with the services that a test hands it, and clients that read answers as
//! HTTP has them.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use protocol::tls::{ClientIdentity, TlsVersion};
use relayd::{
    api::{Api, ApiHandles},
    config::LocalAddress,
    gateway::Behind,
    http::Services,
    reload,
};
use tokio::{net::TcpStream, time::timeout};

use crate::harness::{self, Fleet, PATIENCE, Running};

/// A gateway and a local API.
pub struct Rig {
    pub gateway: Running,
    pub api: SocketAddr,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Rig {
    /// The root of the fleet, with these services.
    pub async fn start(services: Services) -> Self {
        Self::start_as("root", Fleet::new(), services).await
    }

    /// This node of the fleet, with these services.
    pub async fn start_as(own_id: &str, fleet: Fleet, services: Services) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        let behind = Behind { services: services.clone(), ..Behind::default() };
        let gateway = harness::start_as(own_id, fleet, behind, directory, spool, |_| ()).await;
        let handles = ApiHandles {
            configuration: gateway.directory.path().to_owned(),
            database: None,
            reload: reload::service().0,
            registry: gateway.registry.clone(),
            overview: None,
            status: Vec::new(),
            services,
        };
        let address = LocalAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let api = Api::bind(&address, handles).await.unwrap();
        let address = api.local_addr().unwrap();
        tokio::spawn(api.run(gateway.stop.clone()));
        Self { gateway, api: address }
    }

    /// A connection to the gateway as this node.
    pub async fn node(&self, who: &ClientIdentity) -> Client {
        let stream = harness::Client::try_connect(self.gateway.address, Some(who), TlsVersion::V1_3)
            .await
            .unwrap()
            .stream;
        Client::over(TokioIo::new(stream)).await
    }

    /// A connection to the local API.
    pub async fn operator(&self) -> Client {
        Client::over(TokioIo::new(TcpStream::connect(self.api).await.unwrap())).await
    }
}

/// A connection, kept alive.
pub struct Client(http1::SendRequest<Full<Bytes>>);

impl Client {
    async fn over<T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static>(stream: T) -> Self {
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        // It ends with the sender.
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request and returns the answer when its head is there.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("Host", "x");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let sent = async {
            self.0.ready().await.unwrap();
            self.0.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
        };
        timeout(PATIENCE, sent).await.expect("an answer in time")
    }

    /// Sends a request without body and reads all of the answer.
    pub async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let response = self.send(method, path, fields, Bytes::new()).await;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("all of it in time").unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }
}

/// Writes a file and the directories that lead to it.
pub fn write(directory: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
