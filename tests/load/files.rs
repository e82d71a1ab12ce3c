// SPDX-License-Identifier: Apache-2.0
//! Policies that did not change, and large files, over mutually authenticated TLS: against nginx with the same
//! files in the same run.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    pin::Pin,
    time::{Duration, Instant},
};

use clap::Args;
use openssl::ssl::SslConnector;
use tests::{
    Result,
    client::connector,
    fleet::Fleet,
    identity::{Identity, Keys},
    server::{DatabaseUrl, Output, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_openssl::SslStream;

use crate::{
    nginx::Nginx,
    progress,
    report::{Report, Target},
};

/// Policies and large files.
#[derive(Debug, Args)]
pub struct Options {
    /// Conditional requests in each of the rounds
    #[arg(long, default_value_t = 40_000)]
    requests: usize,
    /// Connections at a time for them
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Size of the large file, in MB
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Downloads of it in each of the rounds
    #[arg(long, default_value_t = 4)]
    downloads: usize,
}

/// Rounds, each server in turn: the machine's mood falls on both.
const ROUNDS: usize = 4;
/// What nodes ask for: archives of policies are about as large.
const POLICIES: usize = 300_000;
const FOLDER: &str = "/rudder/relay-api/shared-folder";

pub fn run(options: &Options) -> Result<Report> {
    let (root, machine) = (Identity::new("root".parse()?, Keys::P256)?, Identity::random(Keys::P256)?);
    let published = Identity::random(Keys::P256)?;
    let mut fleet = Fleet::new(&root);
    fleet.add(&machine, &root.node_id);
    fleet.add(&published, &root.node_id);
    let directory = tempfile::Builder::new().prefix("relayd-load-").tempdir()?;
    let directory = directory.path();
    let archive = format!("/policies/{}/rules/rudder.tar.bz2", machine.node_id);
    // One tree for both, in the layout that each of them has its URLs from.
    let www = directory.join("www");
    let (trees, folder) = (www.join("policies"), www.join(&FOLDER[1..]));
    write(&www.join(&archive[1..]), POLICIES)?;
    write(&folder.join("large"), options.size * 1_000_000)?;

    let output = Output::Database(DatabaseUrl::Sqlite(directory.join("database")));
    let mut server = Server::prepare(&directory.join("server"), &root, &fleet, output)?;
    server.set("policies.directory", quoted(&trees)).set("shared_folder.path", quoted(&folder));
    server.start()?;
    publish(&server, &published, &directory.join("source"))?;
    fs::create_dir(directory.join("machine"))?;
    let client = machine.write(&directory.join("machine"))?;
    let nginx = Nginx::start(&directory.join("nginx"), server.identity(), &client.certificate, &www)?;
    let [connector, of_published] =
        [connector(&machine, server.key_hash())?, connector(&published, server.key_hash())?];
    let manifest = format!("/policies/{}/rules.manifest", published.node_id);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut ours = Measured::default();
    let mut theirs = Measured::default();
    for round in 0..=ROUNDS {
        progress(&match round {
            0 => "warming up".to_owned(),
            round => format!("round {round} of {ROUNDS}"),
        });
        for (address, measured, is_ours) in
            [(server.gateway(), &mut ours, true), (nginx.address(), &mut theirs, false)]
        {
            let cpu = || if is_ours { Ok(server.usage()?.cpu) } else { nginx.cpu() };
            let before = cpu()?;
            let unchanged = runtime.block_on(unchanged(address, &connector, &archive, options))?;
            let between = cpu()?;
            if is_ours {
                let manifest = self::unchanged(address, &of_published, &manifest, options);
                let manifest = runtime.block_on(manifest)?;
                if round > 0 {
                    measured.manifest += manifest;
                    measured.manifest_cpu += cpu()?.saturating_sub(between);
                }
            }
            let before_downloads = cpu()?;
            let download = runtime.block_on(downloads(address, &connector, options))?;
            // The first round is not counted: caches are cold, digests unknown.
            if round > 0 {
                measured.unchanged += unchanged;
                measured.unchanged_cpu += between.saturating_sub(before);
                measured.download += download;
                measured.download_cpu += cpu()?.saturating_sub(before_downloads);
            }
        }
    }
    let mut report = Report::default();
    let requests = (ROUNDS * options.requests) as f64;
    let megabytes = (ROUNDS * options.downloads * options.size) as f64;
    for (name, target, amount, unit, ours, theirs) in [
        ("304", "304, ratio", requests, "/s", ours.unchanged, theirs.unchanged),
        ("download", "download, ratio", megabytes, "MB/s", ours.download, theirs.download),
    ] {
        let names = match name {
            "304" => ["304, relayd", "304, nginx"],
            _ => ["download, relayd", "download, nginx"],
        };
        report.add(names[0], amount / ours.as_secs_f64(), unit, Target::None);
        report.add(names[1], amount / theirs.as_secs_f64(), unit, Target::None);
        report.add(target, theirs.as_secs_f64() / ours.as_secs_f64(), "", Target::AtLeast(0.8));
    }
    // A file of its own to relayd, what agents ask for first; to nginx one like any other.
    report.add("304 of a manifest, relayd", requests / ours.manifest.as_secs_f64(), "/s", Target::None);
    let ratio = theirs.unchanged.as_secs_f64() / ours.manifest.as_secs_f64();
    report.add("304 of a manifest, ratio", ratio, "", Target::AtLeast(0.8));
    let micros = |time: Duration, per: f64| time.as_secs_f64() * 1e6 / per;
    report.add("304, CPU of relayd", micros(ours.unchanged_cpu, requests), "us", Target::None);
    report.add("304 of a manifest, CPU of relayd", micros(ours.manifest_cpu, requests), "us", Target::None);
    report.add("304, CPU of nginx", micros(theirs.unchanged_cpu, requests), "us", Target::None);
    report.add("download, CPU of relayd", micros(ours.download_cpu, megabytes), "us/MB", Target::None);
    report.add("download, CPU of nginx", micros(theirs.download_cpu, megabytes), "us/MB", Target::None);
    let memory = server.usage()?.peak_memory as f64 / 1_048_576.0;
    report.add("relayd, peak resident memory", memory, "MiB", Target::AtMost(40.0));
    server.stop()?;
    Ok(report)
}

/// Times of one server, over all rounds.
#[derive(Default)]
struct Measured {
    unchanged: Duration,
    unchanged_cpu: Duration,
    manifest: Duration,
    manifest_cpu: Duration,
    download: Duration,
    download_cpu: Duration,
}

/// Puts signed policies in place for a node.
fn publish(server: &Server, node: &Identity, source: &Path) -> Result<()> {
    for file in 0..100 {
        write(&source.join(format!("technique{}/file{file}.cf", file % 10)), 3_000 + file)?;
    }
    server.command(&["policy", "key", "init"])?;
    let source = source.display().to_string();
    server.command(&["policy", "publish", &source, "--node", node.node_id.as_str(), "--activate"])?;
    Ok(())
}

/// A file of that size that does not compress.
fn write(path: &Path, size: usize) -> Result<()> {
    fs::create_dir_all(path.parent().ok_or("a file is in a directory")?)?;
    let mut file = io::BufWriter::new(File::create(path)?);
    let mut state = 1_u64;
    for _ in 0..size.div_ceil(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.write_all(&state.to_le_bytes())?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.set_len(size as u64)?;
    Ok(())
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A connection that costs as little as possible: what is measured is the server.
struct Client {
    stream: SslStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr, connector: &SslConnector) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let ssl = connector.configure()?.verify_hostname(false).use_server_name_indication(false);
        let mut stream = SslStream::new(ssl.into_ssl("localhost")?, tcp)?;
        Pin::new(&mut stream).connect().await?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024] })
    }

    /// Sends a request; gives the head of the answer and how much of its body came with it.
    async fn ask(&mut self, request: &[u8]) -> Result<(String, usize)> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            filled += read;
            if let Some(at) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok((String::from_utf8_lossy(&self.buffer[..at + 2]).into_owned(), filled - at - 4));
            }
        }
    }

    /// Reads the rest of a body over.
    async fn skip(&mut self, mut left: usize) -> Result<()> {
        while left > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err("the answer was cut off".into()),
                read => left = left.checked_sub(read).ok_or("more came than was announced")?,
            }
        }
        Ok(())
    }

    /// Gets a file whole; gives the head of the answer.
    async fn get(&mut self, path: &str) -> Result<String> {
        let (head, came) = self.ask(&request(path, "")).await?;
        expect(&head, "200")?;
        let length: usize = field(&head, "content-length").ok_or("no content-length")?.parse()?;
        self.skip(length.checked_sub(came).ok_or("more came than was announced")?).await?;
        Ok(head)
    }
}

fn request(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
}

fn expect(head: &str, status: &str) -> Result<()> {
    if head.split(' ').nth(1) == Some(status) { Ok(()) } else { Err(format!("not {status}: {head}").into()) }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Time for the conditional requests, each connection with one at a time.
async fn unchanged(
    address: SocketAddr,
    connector: &SslConnector,
    path: &str,
    options: &Options,
) -> Result<Duration> {
    let mut clients = Vec::new();
    let mut tag = String::new();
    for _ in 0..options.connections {
        let mut client = Client::open(address, connector).await?;
        let head = client.get(path).await?;
        tag = field(&head, "etag").ok_or("no ETag")?.to_owned();
        clients.push(client);
    }
    let asked = request(path, &format!("If-None-Match: {tag}\r\n"));
    let each = options.requests.div_ceil(options.connections);
    let start = Instant::now();
    let asking = clients.into_iter().map(async |mut client| {
        for _ in 0..each {
            let (head, body) = client.ask(&asked).await?;
            expect(&head, "304")?;
            if body != 0 {
                return Err("a 304 with a body".into());
            }
        }
        Ok::<_, tests::Error>(())
    });
    futures_util::future::try_join_all(asking).await?;
    Ok(start.elapsed())
}

/// Time for the downloads, one after the other.
async fn downloads(address: SocketAddr, connector: &SslConnector, options: &Options) -> Result<Duration> {
    let mut client = Client::open(address, connector).await?;
    let start = Instant::now();
    for _ in 0..options.downloads {
        client.get(&format!("{FOLDER}/large")).await?;
    }
    Ok(start.elapsed())
}
