// SPDX-License-Identifier: Apache-2.0
//! A private PostgreSQL cluster: own directory, own port, gone when dropped.
//!
//! PostgreSQL refuses to run as root, so root runs it as the user `postgres`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use diesel::{Connection, PgConnection, RunQueryDsl, sql_query};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Result, ports, process::Process, programs, server::DatabaseUrl, wait};

/// How much the cluster cares for its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// No fsync: for tests, whose machine does not lose power.
    Fast,
    /// As installed: for measuring.
    Default,
}

/// A cluster, running or stopped.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    port: u16,
    process: Option<Process>,
}

const SOCKETS: &str = "sockets";

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start_new(durability: Durability) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("relayd-postgres-").tempdir()?;
        let (data, sockets) = (directory.path().join("data"), directory.path().join(SOCKETS));
        fs::create_dir(&sockets)?;
        if rustix::process::geteuid().is_root() {
            for path in [directory.path(), &sockets] {
                chown(path, Some(id_of_postgres("-u")?), Some(id_of_postgres("-g")?))?;
            }
        }
        fs::set_permissions(&sockets, PermissionsExt::from_mode(0o755))?;
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700))?;
        let output = unprivileged("initdb")?
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .arg("--pgdata")
            .arg(&data)
            .output()?;
        if !output.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let port = ports::free()?;
        let fsync = if durability == Durability::Fast { "fsync = off\nfull_page_writes = off\n" } else { "" };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             max_connections = 60\nshared_buffers = 256MB\nmax_wal_size = 4GB\nlog_min_messages = warning\n{fsync}",
            sockets.display()
        );
        let file = data.join("postgresql.conf");
        let text = fs::read_to_string(&file)? + &settings;
        fs::write(&file, text)?;
        let mut cluster = Self { directory, port, process: None };
        cluster.start()?;
        sql_query("CREATE ROLE rudder LOGIN").execute(&mut cluster.connect("postgres", "postgres")?)?;
        Ok(cluster)
    }

    /// Starts the stopped cluster and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        let log = self.log_file();
        let mut command = unprivileged("postgres")?;
        command.arg("-D").arg(self.directory.path().join("data"));
        self.process = Some(Process::start("PostgreSQL", &mut command, &log)?);
        wait::until("PostgreSQL to accept connections", Duration::from_secs(60), || {
            if let Some(process) = &mut self.process {
                process.check()?;
            }
            Ok(Some(self.connect("postgres", "postgres")?))
        })
        .map(drop)
    }

    /// Fast shutdown: open transactions are rolled back, connections closed.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT)?;
            process.wait(Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// Immediate shutdown, as if it crashed.
    pub fn crash(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::QUIT)?;
            process.wait(Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// Makes an empty database owned by the role `rudder`.
    pub fn create_database(&self, name: &str) -> Result<DatabaseUrl> {
        let statement = format!("CREATE DATABASE {name} OWNER rudder");
        sql_query(statement).execute(&mut self.connect("postgres", "postgres")?)?;
        Ok(self.url(name))
    }

    /// The URL of a database for the role `rudder`.
    pub fn url(&self, database: &str) -> DatabaseUrl {
        DatabaseUrl::Postgres(format!("postgres://rudder@127.0.0.1:{}/{database}", self.port))
    }

    /// A connection as any role.
    pub fn connect(&self, role: &str, database: &str) -> Result<PgConnection> {
        Ok(PgConnection::establish(&format!("postgres://{role}@127.0.0.1:{}/{database}", self.port))?)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its Unix socket is. The directory above is closed to others; this one may be mounted elsewhere.
    pub fn socket_directory(&self) -> PathBuf {
        self.directory.path().join(SOCKETS)
    }

    /// The processes of the cluster: the server's and one for each connection.
    pub fn process_ids(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([process.id()]).collect()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A killed postmaster leaves its children behind; an immediate shutdown does not.
        let _ = self.crash();
    }
}

fn unprivileged(name: &str) -> Result<Command> {
    let program = programs::of_system(name)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    // The caller's directory may be closed to that user.
    command.current_dir(Path::new("/"));
    Ok(command)
}

fn id_of_postgres(kind: &str) -> Result<u32> {
    let output = Command::new("id").args([kind, "postgres"]).output()?;
    let id = String::from_utf8_lossy(&output.stdout).trim().parse();
    id.map_err(|_| "there is no user postgres: `make test` installs PostgreSQL".into())
}
