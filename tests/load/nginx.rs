// SPDX-License-Identifier: Apache-2.0
//! The yardstick for files: Debian's nginx, started privately with the same certificates and files.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tests::{
    Result, ports,
    process::{self, Process},
    programs,
    server::IdentityFiles,
    wait,
};

use crate::progress;

/// A running nginx.
pub struct Nginx {
    process: Process,
    address: SocketAddr,
}

impl Nginx {
    /// Serves the files below `root` over mutually authenticated TLS to the client of that certificate.
    pub fn start(directory: &Path, own: &IdentityFiles, client: &Path, root: &Path) -> Result<Self> {
        let program = program(directory)?;
        let port = ports::free()?;
        fs::create_dir_all(directory.join("temporary"))?;
        let configuration = configuration(directory, own, client, root, port);
        fs::write(directory.join("nginx.conf"), configuration)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
        command.arg("-e").arg(directory.join("error.log"));
        let process = Process::start("nginx", &mut command, &directory.join("output.log"))?;
        let mut nginx = Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        wait::until_true("nginx to listen", Duration::from_secs(10), || {
            nginx.process.check()?;
            Ok(std::net::TcpStream::connect(nginx.address).is_ok())
        })?;
        Ok(nginx)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of all its processes.
    pub fn cpu(&self) -> Result<Duration> {
        let own = self.process.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let workers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        workers.chain([own]).map(|pid| Ok(process::usage(pid)?.cpu)).sum()
    }
}

fn configuration(directory: &Path, own: &IdentityFiles, client: &Path, root: &Path, port: u16) -> String {
    let temporary = directory.join("temporary").display().to_string();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {temporary}/{kind};\n"))
        .concat();
    // As fast as it gets: no log, all connections kept; the rest is its default.
    format!(
        "daemon off;
worker_processes auto;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
{paths}    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {client};
        ssl_verify_client on;
        ssl_protocols TLSv1.3;
        ssl_session_tickets off;
        root {root};
    }}
}}
",
        directory = directory.display(),
        certificate = own.certificate.display(),
        key = own.key.display(),
        client = client.display(),
        root = root.display(),
    )
}

/// The program: the one that is installed, or Debian's package, unpacked and not installed: that would start a
/// service.
fn program(directory: &Path) -> Result<PathBuf> {
    let installed = programs::of_system("nginx").ok();
    if let Some(found) =
        installed.or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()))
    {
        return Ok(found);
    }
    progress("nginx is not installed: fetching Debian's package");
    let unpacked = directory.join("package");
    fs::create_dir_all(&unpacked)?;
    // As root, apt would have the package fetched by another user, who may not write here.
    run(Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "download", "nginx"])
        .current_dir(&unpacked))?;
    let package = fs::read_dir(&unpacked)?.next().ok_or("apt-get fetched nothing")??.path();
    run(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
    Ok(unpacked.join("usr/sbin/nginx"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{} failed ({}): {said}", command.get_program().display(), output.status).into())
}
