// SPDX-License-Identifier: Apache-2.0
//! The configuration: what existing files mean, and what is said about each mistake.

mod support;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use proptest::prelude::*;
use relayd::config::{
    ConfigError, DatabaseUrl, Loaded, LocalAddress, RunLogOutput, UpstreamTrust, load, load_logging,
    logging_file::{self, LoggingFile},
    main_file::MainFile,
    print, resolve,
};
use support::{assert_golden, fixture, stdout};

const ROOT: &str = "[general]\nnode_id = \"root\"\n";

fn read(text: &str) -> Result<Loaded, ConfigError> {
    resolve::read(Path::new("main.conf"), text)
}

/// Reads with a node id set.
fn root(text: &str) -> Loaded {
    read(&format!("{ROOT}{text}")).unwrap()
}

/// What is said about a file, and the exit code.
fn mistakes(text: &str) -> (String, u8) {
    let error = read(text).unwrap_err();
    (error.to_string(), error.exit_code())
}

#[test]
fn each_mistake_is_named_with_line_cause_and_remedy() {
    let general = |line: &str| format!("[general]\nnode_id = \"root\"\n{line}\n");
    let rule = |line: &str| format!("{ROOT}{line}\n");
    #[rustfmt::skip]
    let cases: Vec<(String, u8, &str)> = vec![
        (general("listem = \"127.0.0.1:3030\""), 2, "main.conf:3: general.listem: unknown key; did you mean general.listen?"),
        (general("max_pool_size = 3"), 2, "main.conf:3: general.max_pool_size: unknown key in this section; it belongs to [output.database]"),
        (general("colour = \"red\""), 2, "main.conf:3: general.colour: unknown key; remove it, or see \"relayd config reference\""),
        (general("[output.upsteam]\nhost = \"a\""), 2, "main.conf:3: output.upsteam: unknown section; did you mean [output.upstream]?"),
        (general("[general.listen]"), 2, "main.conf:3: general.listen: a value is expected, not a section; write listen = … in section [general]"),
        (format!("rsync = 1\n{ROOT}"), 2, "main.conf:1: rsync: a section is expected, not a value; write [rsync] on a line of its own"),
        (general("https_port = \"443\""), 2, "main.conf:3: general.https_port: this is a string; write an integer from 0 to 65535"),
        (general("https_port = 65536"), 2, "main.conf:3: general.https_port: 65536 is out of range; write an integer from 0 to 65535"),
        (general("core_threads = 0"), 2, "main.conf:3: general.core_threads: 0 is out of range; write an integer, 1 or more"),
        (general("https_idle_timeout = -1"), 2, "main.conf:3: general.https_idle_timeout: -1 s is negative or too long; write a duration: an integer number of seconds, or text such as \"10s\", \"30min 20s\", \"1day\""),
        (general("https_idle_timeout = \"soon\""), 2, "main.conf:3: general.https_idle_timeout: \"soon\" is not a duration (expected number at 0); write a duration: an integer number of seconds, or text such as \"10s\", \"30min 20s\", \"1day\""),
        (general("shutdown_grace = \"200years\""), 2, "main.conf:3: general.shutdown_grace: longer than 100 years; write a shorter duration"),
        (general("peer_authentication = \"none\""), 2, "main.conf:3: general.peer_authentication: \"none\" is not known here; write \"cert_pinning\", \"cert_validation\", \"dangerous_none\" or \"system_root_certs\""),
        (general("nodes_list_file = \"\""), 2, "main.conf:3: general.nodes_list_file: the path is empty; write a path or remove the line"),
        (general("listen = \"0.0.0.0:3030\""), 2, "main.conf:3: general.listen: 0.0.0.0:3030 is not a loopback address; the local API has no authentication: write 127.0.0.1:3030, [::1]:3030 or \"unix:/path\""),
        (general("listen = \"unix:api.sock\""), 2, "main.conf:3: general.listen: the path of the socket is not absolute; write \"unix:/run/relayd/api.sock\""),
        (general("[processing.reporting]\nmax_file_size = \"10MB\""), 2, "main.conf:4: processing.reporting.max_file_size: \"10MB\" is not a size; write a size: an integer number of bytes, or text such as \"512KiB\", \"10MiB\", \"1GiB\""),
        (general("[output.upstream]\nserver_key_hashes = [\"sha256//AAAA\"]"), 2, "main.conf:4: output.upstream.server_key_hashes: \"sha256//AAAA\" is not a key hash: expected sha256//<base64>, sha512//<base64>, sha256:<hex> or sha512:<hex>; print the right one with \"agent init\" on that server"),
        ("[general]\nnode_id = \"../x\"\n".into(), 2, "main.conf:2: general.node_id: a node id starts with a letter or digit and holds only letters, digits, '-', '_' and '.'; found '.'; write the id of this server, or remove the line"),
        ("[general]\nnode_id_file = \"/nowhere/uuid.hive\"\n".into(), 3, "main.conf:2: general.node_id_file: cannot read /nowhere/uuid.hive: No such file or directory (os error 2); write the id of this server into it, or set general.node_id"),
        ("[general]\nnode_id = \"0e5f\"\n".into(), 3, "main.conf:2: output.upstream.host: missing, but the node id 0e5f is not that of a root server; write the host name or address of the policy server above this one"),
        (rule("[processing.reporting]\noutput = \"upstream\"\n[output.upstream]\nhost = \"a\""), 3, "main.conf:4: output.upstream.password: missing, but processing.reporting.output is \"upstream\" and there is no client certificate; write the password for uploads to the upstream server, or name client_certificate and client_key"),
        (rule("[processing.inventory]\noutput = \"upstream\"\n[output.upstream]\npassword = \"a\""), 3, "main.conf:4: output.upstream.host: missing, but processing.inventory.output is \"upstream\"; write the host name or address of the policy server above this one"),
        (rule("[processing.reporting]\noutput = \"database\"\n[output.database]\nurl = \"postgres://a@b/c\""), 3, "main.conf:4: output.database.password: missing, but processing.reporting.output is \"database\"; write the password of the database user, or use a Unix socket (\"…?host=/run/postgresql\") or SQLite"),
        (rule("[output.database]\nurl = \"mysql://a:CANARY@b/c\""), 3, "main.conf:4: output.database.url: unknown kind of database; write a URL that starts with postgres:// or sqlite:/"),
        ("[general]\nnode_id = \"r1\"\n[output.upstream]\nhost = \"h\"\nclient_certificate = \"/c\"\nclient_key = \"/k\"\n[processing.reporting]\noutput = \"database\"\n[nodes]\nsource = \"upstream\"".into(), 3, "main.conf:8: processing.reporting.output: \"database\" is for a server that has the certificates with which run logs are signed, and nodes.source = \"upstream\" does not bring them; write \"upstream\" or \"disabled\""),
        (rule("[output.upstream]\nclient_key = \"/k\""), 3, "main.conf:4: output.upstream.client_certificate: missing, but client_key is given; name the file of its certificate"),
        (rule("[gateway]\nbasic_auth_user = \"a\"\nbasic_auth_password = \"b\""), 3, "main.conf:4: gateway.basic_auth_initial_password: missing, but basic_auth_user is given; write a password, or remove basic_auth_user"),
        (rule("[gateway]\nhigh_water_percent = 101"), 3, "main.conf:4: gateway.high_water_percent: not a percentage; write 1 to 100"),
        (rule("[gateway]\nuploads_per_minute = 0"), 3, "main.conf:4: gateway.uploads_per_minute: 0 would refuse every upload; write how many a node may send per minute"),
        (rule("[processing.inventory.cleanup]\nretention = 0"), 3, "main.conf:4: processing.inventory.cleanup.retention: 0 would remove files before they are delivered; write a duration such as \"7d\""),
        (rule("[processing.inventory]\nmax_file_size = 0"), 3, "main.conf:4: processing.inventory.max_file_size: 0 would refuse every file; write a size such as \"10MiB\""),
        (rule("[processing.reporting.catchup]\nfrequency = 0"), 3, "main.conf:4: processing.reporting.catchup.frequency: 0 would never rest; write a duration such as \"10s\""),
    ];
    for (text, code, expected) in cases {
        assert_eq!(mistakes(&text), (expected.to_owned(), code), "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[general]\nnode_id = \"relay1\"\nlisten = 3\nhttp_port = 4\n\
                [processing.reporting]\noutput = \"database\"\n[output.database]\nurl = \"postgres://a/b\"\n";
    let (said, code) = mistakes(text);
    let lines: Vec<_> =
        said.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "main.conf:2 output.upstream.host",
            "main.conf:3 general.listen",
            "main.conf:4 general.http_port",
            "main.conf:6 output.database.password",
        ]
    );
    assert_eq!(code, 2);
}

#[test]
fn syntax_errors_are_all_named_and_repeat_no_secret() {
    let (said, code) = mistakes(
        "[general]\nnode_id = root\nlisten = \n[output.upstream]\npassword = \"CANARY\npassword = CANARY\n",
    );
    for line in [2, 3, 5, 6] {
        assert!(said.contains(&format!("main.conf:{line}: ")), "{line}: {said}");
    }
    assert!(!said.contains("CANARY"), "{said}");
    assert_eq!(code, 2);
}

#[test]
fn secrets_are_in_no_debug_text_and_not_shown() {
    let loaded = root(
        "[output.database]\nurl = \"postgres://u:CANARY1@h/d?password=CANARY2\"\npassword = \"CANARY3\"\n\
         [output.upstream]\nhost = \"h\"\nurl = \"https://u:CANARY4@h\"\npassword = \"CANARY5\"\n\
         default_password = \"CANARY6\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nbasic_auth_user = \"u\"\n\
         basic_auth_password = \"CANARY7\"\nbasic_auth_initial_password = \"CANARY8\"\n",
    );
    for text in [format!("{loaded:?}"), print::shown(&loaded.typed.shown())] {
        assert!(!text.contains("CANARY"), "{text}");
    }
}

#[test]
fn the_existing_test_configuration_means_the_same() {
    let Some(directory) = fixture("config/test") else { return };
    let text = fs::read_to_string(directory.join("main.conf")).unwrap();
    let id_file = directory.join("uuid.hive");
    let text = text.replace("tests/files/config/uuid.hive", id_file.to_str().unwrap());
    let Loaded { config, typed, warnings, .. } = read(&text).unwrap();
    assert!(config.general.node_id.is_root());
    assert_eq!(config.general.listen, LocalAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 3030))));
    assert_eq!(config.general.blocking_threads, 512);
    let inventories = &config.inventories;
    assert_eq!(inventories.output, relayd::config::InventoryOutput::Upstream);
    assert_eq!(inventories.spool.sweep_every, Some(Duration::from_secs(10)));
    assert_eq!(inventories.spool.clean_every, Duration::from_secs(10));
    assert_eq!(inventories.spool.retention, Duration::from_secs(10));
    let run_logs = &config.run_logs;
    assert_eq!(run_logs.output, RunLogOutput::Database);
    assert_eq!(run_logs.spool.directory, Path::new("target/tmp/reporting/"));
    assert_eq!(run_logs.spool.clean_every, Duration::from_secs(30));
    assert_eq!(run_logs.spool.retention, Duration::from_secs(1820));
    assert!(
        matches!(&config.database.url, DatabaseUrl::Postgres(url) if url == "postgres://rudderreports@postgres/rudder?password=PASSWORD")
    );
    assert_eq!(config.database.max_pool_size, 5);
    let upstream = config.upstream.unwrap();
    assert_eq!((upstream.host.as_str(), upstream.port), ("rudder.example.com", 4443));
    assert_eq!(upstream.idle_timeout, Duration::from_secs(42));
    assert!(
        matches!(upstream.trust, UpstreamTrust::Anchors(file) if file.ends_with("e745a140-40bc-4b86-b6dc-084488fc906b.cert"))
    );
    assert!(config.gateway.is_none());
    assert_eq!(typed.shared_files.max_body_size.value.0, 8192);
    assert_eq!(typed.shared_files_cleanup.frequency.value, Duration::from_secs(43));
    assert!(!typed.remote_run.use_sudo.value);
    assert_eq!(warnings, Vec::<String>::new());
    let (_, logging) = load_logging(&directory).unwrap();
    assert_eq!(logging.directives, "off");
}

#[test]
fn the_existing_sample_is_valid_on_root() {
    let Some(directory) = fixture("config/sample") else { return };
    let text = fs::read_to_string(directory.join("main.conf")).unwrap();
    let loaded = read(&text.replace("[general]", ROOT)).unwrap();
    assert_eq!(loaded.config.run_logs.output, RunLogOutput::Disabled);
    assert_eq!(loaded.config.upstream.unwrap().port, 443);
    assert_eq!(load_logging(&directory).unwrap().1.directives, "info");
}

#[test]
fn the_database_is_chosen_by_url_and_password() {
    let url = |text: &str| match root(&format!("[output.database]\n{text}")).config.database.url {
        DatabaseUrl::Postgres(url) => url,
        DatabaseUrl::Sqlite(path) => path.display().to_string(),
    };
    assert_eq!(url(""), "/var/rudder/relayd/relayd.db");
    assert_eq!(url("password = \"a b&c\""), "postgres://rudder@127.0.0.1/rudder?password=a%20b%26c");
    assert_eq!(
        url("url = \"postgresql://u@h/d?sslmode=require\"\npassword = \"é\""),
        "postgresql://u@h/d?sslmode=require&password=%C3%A9"
    );
    assert_eq!(url("url = \"sqlite:/a/b.db\""), "/a/b.db");
    assert_eq!(url("url = \"sqlite:///a/b.db\""), "/a/b.db");
    let socket =
        "url = \"postgres:///d?host=/run/postgresql\"\n[processing.reporting]\noutput = \"database\"";
    assert_eq!(url(socket), "postgres:///d?host=/run/postgresql");
}

#[test]
fn older_names_are_understood() {
    let loaded =
        root("[output.upstream]\nurl = \"https://up.example.com:4443/\"\nverify_certificates = false\n");
    let upstream = loaded.config.upstream.unwrap();
    assert_eq!((upstream.host.as_str(), upstream.port), ("up.example.com", 4443));
    assert_eq!(upstream.trust, UpstreamTrust::DangerousNone);
    let warning = "Certificate verification is disabled";
    assert_eq!(loaded.warnings.iter().filter(|text| *text == warning).count(), 1, "{:?}", loaded.warnings);
    let validation = "peer_authentication = \"system_root_certs\"\nca_path = \"/ca.pem\"\n[output.upstream]\nhost = \"h\"\n[rsync]\nlisten = \"localhost:5310\"";
    let trust = root(validation).config.upstream.unwrap().trust;
    assert_eq!(trust, UpstreamTrust::Authorities(Some("/ca.pem".into())));
}

#[test]
fn a_limit_of_zero_turns_the_periodic_sweep_off() {
    let loaded = root("[processing.reporting.catchup]\nlimit = 0\n");
    assert_eq!(loaded.config.run_logs.spool.sweep_every, None);
}

#[test]
fn the_node_id_file_is_trimmed_and_the_setting_wins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("uuid.hive");
    fs::write(&file, " root \n").unwrap();
    let general = |more: &str| {
        let text =
            format!("[general]\nnode_id_file = \"{}\"\n{more}[output.upstream]\nhost=\"h\"", file.display());
        read(&text).unwrap().config.general
    };
    assert!(general("").node_id.is_root());
    assert_eq!(general("node_id = \"relay1\"\n").node_id.as_str(), "relay1");
}

#[test]
fn missing_files_are_named_rightly() {
    let directory = tempfile::tempdir().unwrap();
    let error = load(directory.path()).unwrap_err();
    let expected =
        format!("Could not read main configuration file from {}/main.conf: ", directory.path().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(error.exit_code(), 3);
    // Without logging.conf the defaults apply; one that cannot be read is an error about that file.
    assert_eq!(load_logging(directory.path()).unwrap().1.directives, "info");
    fs::create_dir(directory.path().join("logging.conf")).unwrap();
    let error = load_logging(directory.path()).unwrap_err();
    assert!(error.to_string().contains("logging configuration file from"), "{error}");
}

#[test]
fn log_filters_are_checked() {
    let read = |text| logging_file::read(Path::new("logging.conf"), text);
    let (_, logging) = read("[general]\nlevel = \"warn\"\nfilter = \"[database{node=root}]=trace\"").unwrap();
    assert_eq!(logging.directives, "warn,[database{node=root}]=trace");
    let error = read("[general]\nfilter = \"[a=\"\nlevel = \"loud\"").unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("logging.conf:2: general.filter: ") && said.contains("logging.conf:3: general.level: "),
        "{said}"
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn numbers_may_be_written_as_toml_allows() {
    let general =
        root("blocking_threads = 1_000\ncore_threads = 0x10\nhttps_port = +444\nshutdown_grace = 0x0a\n");
    let general = general.typed.general;
    assert_eq!(general.blocking_threads.value.get(), 1000);
    assert_eq!(general.core_threads.value.map(usize::from), Some(16));
    assert_eq!(general.https_port.value, 444);
    assert_eq!(general.shutdown_grace.value, Duration::from_secs(10));
    let sizes = root("[shared_files]\nmax_body_size = \"2 KiB\"\n[gateway]\nmax_bytes_in_flight = 1024\n");
    assert_eq!(sizes.typed.shared_files.max_body_size.value.0, 2048);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[?[a-z_.]{0,12}\\]? ?=? ?[-\"'\\[{0-9a-zµ\\x00\\\\]{0,8}\n){0,6}") {
        let _ = read(&text);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_with_a_line(at in 0_usize..4000, byte in any::<u8>()) {
        let mut text = print::default_file("main.conf", &MainFile::describe()).replace("\n#", "\n").into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Err(ConfigError::Problems(problems)) = read(&String::from_utf8_lossy(&text)) {
            prop_assert!(problems.iter().all(|problem| problem.line.is_some()), "{problems:?}");
        }
    }
}

#[test]
fn the_default_files_say_what_applies() {
    // With every default written out, nothing changes.
    let typed_out = |text: &str| {
        let uncomment = |line: &str| match line.strip_prefix('#') {
            Some(setting)
                if !setting.starts_with(' ') && !setting.is_empty() && !line.contains("# an example") =>
            {
                setting.to_owned()
            }
            _ => line.to_owned(),
        };
        text.lines().map(uncomment).collect::<Vec<_>>().join("\n")
    };
    let values =
        |loaded: &Loaded| loaded.typed.shown().into_iter().map(|s| (s.key, s.value)).collect::<Vec<_>>();
    let text = print::default_file("main.conf", &MainFile::describe());
    let all = typed_out(&text).replace("[general]", ROOT);
    assert_eq!(values(&read(&all).unwrap()), values(&root("")));
    assert!(all.contains("\nretention = \"7days\"\n"), "{all}");
    // Examples are valid as well.
    let examples = text.lines().filter(|line| line.contains("# an example")).count();
    let with_examples = typed_out(&text.replace("  # an example; not set by default", ""));
    assert!(read(&with_examples).is_ok(), "{:?}", read(&with_examples).map(drop));
    assert!(examples > 10);
    let text = print::default_file("logging.conf", &LoggingFile::describe());
    assert_eq!(
        logging_file::read(Path::new("logging.conf"), &typed_out(&text)).unwrap().1.directives,
        "info"
    );
}

#[test]
fn printed_documents_are_up_to_date() {
    assert_golden("main.conf", &stdout(&["config", "default"]));
    assert_golden("logging.conf", &stdout(&["config", "default", "logging"]));
    assert_golden("reference.md", &stdout(&["config", "reference"]));
}

#[test]
fn addresses_may_be_ipv6_and_the_gateway_may_have_several() {
    let upstream = |text: &str| {
        let upstream = root(&format!("[output.upstream]\n{text}\n")).config.upstream.unwrap();
        (upstream.host, upstream.port)
    };
    assert_eq!(upstream("host = \"2001:db8::1\""), ("2001:db8::1".to_owned(), 443));
    assert_eq!(upstream("host = \"[2001:db8::1]\"\nport = 444"), ("2001:db8::1".to_owned(), 444));
    assert_eq!(upstream("url = \"https://[2001:db8::1]:445/\""), ("2001:db8::1".to_owned(), 445));
    assert_eq!(upstream("url = \"https://[::1]\""), ("::1".to_owned(), 443));

    let listen = |text: &str| root(&format!("[gateway]\nlisten = {text}\n")).config.gateway.unwrap().listen;
    let addresses = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
    assert_eq!(listen("\"[::]:443\""), addresses(&["[::]:443"]));
    let several = "[\"[2001:db8::1]:443\", \"192.0.2.1:443\", \"192.0.2.1:443\"]";
    assert_eq!(listen(several), addresses(&["192.0.2.1:443", "[2001:db8::1]:443"]));
    let (said, code) = mistakes(&format!("{ROOT}[gateway]\nlisten = []\n"));
    assert!(said.contains("main.conf:4: gateway.listen: the list is empty") && code == 3, "{said}");
    let (said, code) = mistakes(&format!("{ROOT}[gateway]\nlisten = [\"[::1]:443\", \"nowhere\"]\n"));
    assert!(said.contains("\"nowhere\" is not an address") && code == 2, "{said}");
    assert_eq!(
        root("listen = \"[::1]:3030\"").config.general.listen,
        LocalAddress::Tcp("[::1]:3030".parse().unwrap())
    );
}

#[test]
fn a_password_may_be_a_credential_that_is_not_there() {
    let error = root("[output.database]\npassword = \"credential:no.such\"\n").whole().unwrap_err();
    let (said, code) = (error.to_string(), error.exit_code());
    assert!(said.contains("no.such") && said.contains("LoadCredential=") && code == 2, "{said}");
    let key =
        root("[gateway]\nlisten = \"[::1]:443\"\nkey = \"credential:agent.key\"\n").config.gateway.unwrap();
    assert!(key.identity.key.ends_with("agent.key") && key.identity.key.is_absolute());
}
