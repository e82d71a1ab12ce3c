// SPDX-License-Identifier: Apache-2.0
//! A private PostgreSQL cluster: own directory, Unix socket only, gone when the test process is,
//! however that ends.
//!
//! A shell script under the right user owns the server and takes commands on its standard input;
//! when that closes it stops the server and removes the directory.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use diesel::{Connection, PgConnection, connection::SimpleConnection};

const SCRIPT: &str = r#"
bin=$1; fsync=$2
# Connections for as many tests as a machine of many cores runs at once; and nothing takes locks but the tests.
settings="-c listen_addresses='' -c fsync=$fsync -c max_connections=400 -c autovacuum=off"
dir=$(mktemp -d /tmp/relayd-pg.XXXXXX) || exit 1
"$bin/initdb" -D "$dir/data" -A trust -U postgres -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 \
    || { cat "$dir/initdb.log" >&2; rm -rf "$dir"; exit 1; }
echo "$dir"
while read -r command; do
    case $command in
    start) "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" start \
        -o "-k $dir $settings" >"$dir/pg_ctl.log" 2>&1 </dev/null \
        || cat "$dir/pg_ctl.log" "$dir/log" >&2;;
    stop) "$bin/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null 2>&1;;
    esac
    echo done
done
"$bin/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null 2>&1
rm -rf "$dir"
"#;

/// A cluster of its own.
pub struct Cluster {
    directory: PathBuf,
    script: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

/// The cluster that all tests of a process share, each with its own database.
pub fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start("off"))
}

impl Cluster {
    /// Makes and starts one; `fsync` is `on` where durability matters.
    pub fn start(fsync: &str) -> Self {
        let bin = binaries();
        let mut command = if rustix::process::geteuid().is_root() {
            // The server refuses to run as root.
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut child = command
            .args(["-c", SCRIPT, "sh"])
            .arg(bin)
            .arg(fsync)
            .current_dir("/tmp")
            // Who kills the group of the test process must not kill what cleans up after it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell runs");
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut directory = String::new();
        output.read_line(&mut directory).unwrap();
        assert!(!directory.is_empty(), "initdb failed, see above");
        let cluster =
            Self { directory: directory.trim_end().into(), script: Mutex::new((child, input, output)) };
        cluster.up();
        cluster
    }

    /// Starts the server.
    pub fn up(&self) {
        self.tell("start");
    }

    /// Stops it at once, as a crash would.
    pub fn down(&self) {
        self.tell("stop");
    }

    fn tell(&self, command: &str) {
        let mut script = self.script.lock().unwrap();
        let (_, input, output) = &mut *script;
        writeln!(input, "{command}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "the script that owns the server is gone");
    }

    /// URL of a database in it.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@/{database}?host={}", self.directory.display())
    }

    /// Makes a database and returns its name.
    pub fn create_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        name
    }

    /// Connects as superuser.
    pub fn connect(&self, database: &str) -> PgConnection {
        PgConnection::establish(&self.url("postgres", database)).expect("the cluster is up")
    }
}

/// Where the server's programs are.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin).unwrap_or_else(|| {
        let usual = Path::new("/usr/bin");
        assert!(
            usual.join("initdb").exists(),
            "these tests need PostgreSQL: `make test` installs it, or run `apt-get install postgresql`"
        );
        usual.to_owned()
    })
}
