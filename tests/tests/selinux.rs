// SPDX-License-Identifier: Apache-2.0
//! The SELinux module, compiled with Debian's policy headers, linked with Debian's policy, and asked. What the daemon
//! may do is compared as whole sets, rules that come from attributes included: one access more fails as one less does.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tests::{Result, programs};

const DAEMON: &str = "rudder_relayd_t";
const REMOTE_RUN: &str = "rudder_relayd_enable_remote_run";
const MANAGE_NODES: &str = "rudder_relayd_manage_nodes";
const CONNECT_PROXY: &str = "rudder_relayd_connect_proxy";

/// The module within Debian's policy.
struct Policy {
    directory: PathBuf,
    /// All that the daemon may do, as `sesearch` prints it.
    rules: Vec<Rule>,
}

/// A rule that allows something.
#[derive(Debug)]
struct Rule {
    target: String,
    class: String,
    permissions: BTreeSet<String>,
    boolean: Option<String>,
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging")
}

/// The compiled policy; `None`, and said, without the tools, which is an error in CI.
fn policy() -> Option<&'static Policy> {
    static POLICY: OnceLock<std::result::Result<Policy, String>> = OnceLock::new();
    match POLICY.get_or_init(|| missing().map_or_else(|| Ok(Policy::compile().unwrap()), Err)) {
        Ok(policy) => Some(policy),
        Err(why) if env::var_os("CI").is_none() => {
            eprintln!("skipped: {why}, which would be an error in CI");
            None
        }
        Err(why) => panic!("{why}; tests/install-dependencies installs it"),
    }
}

const BASE: &str = "/usr/share/selinux/default";

fn missing() -> Option<String> {
    let tools =
        ["make", "m4", "checkmodule", "semodule_link", "semodule_expand", "sesearch", "selabel_lookup"];
    let tool = tools.into_iter().find(|tool| programs::of_system(tool).is_err());
    let file = |path: &&str| !Path::new(path).exists();
    let headers = ["/usr/share/selinux/devel/Makefile", "/usr/share/selinux/default/base.pp.bz2"];
    tool.or_else(|| headers.into_iter().find(file)).map(|what| format!("{what} is missing"))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

impl Policy {
    fn compile() -> Result<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("selinux");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let out = format!("OUT={}", directory.join("module").display());
        let said = run(Command::new("make").arg("-C").arg(packaging().join("selinux")).arg(out))?;
        assert!(!said.contains("warning"), "{said}");
        // What the module refers to; the whole policy takes ten times as long.
        let with = ["base", "apache", "postgresql", "kerberos", "sudo", "unconfined"];
        let mut link = Command::new("semodule_link");
        link.current_dir(&directory).args(["-o", "linked"]);
        for module in with {
            let unpacked =
                Command::new("bunzip2").arg("-c").arg(format!("{BASE}/{module}.pp.bz2")).output()?;
            let file = directory.join(format!("{module}.pp"));
            fs::write(&file, unpacked.stdout)?;
            link.arg(file);
        }
        run(link.arg("module/rudder-relay.pp"))?;
        run(Command::new("semodule_expand").current_dir(&directory).args(["-c", "33", "linked", "policy"]))?;
        for (module, contexts) in [("base.pp", "base.fc"), ("module/rudder-relay.pp", "module.fc")] {
            run(Command::new("semodule_unpackage").current_dir(&directory).args([
                module,
                "module.mod",
                contexts,
            ]))?;
        }
        let contexts = ["base.fc", "module.fc"].map(|file| fs::read(directory.join(file)).unwrap()).concat();
        fs::write(directory.join("contexts"), contexts)?;
        let mut policy = Self { directory, rules: Vec::new() };
        policy.rules = policy.search(&["-A", "-s", DAEMON])?.lines().filter_map(Rule::parse).collect();
        assert!(policy.rules.len() > 100, "{}", policy.rules.len());
        Ok(policy)
    }

    fn search(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("sesearch").args(arguments).arg(self.directory.join("policy")))
    }

    /// The types to which the daemon has all of these permissions, always or with that boolean.
    fn targets(&self, class: &str, permissions: &[&str], boolean: Option<&str>) -> BTreeSet<&str> {
        let has = |rule: &&Rule| {
            rule.class == class
                && rule.boolean.as_deref() == boolean
                && permissions.iter().all(|permission| rule.permissions.contains(*permission))
        };
        self.rules.iter().filter(has).map(|rule| rule.target.as_str()).collect()
    }

    /// The type of a path, or of what is below a directory.
    fn type_of(&self, path: &str) -> Result<String> {
        let mut lookup = Command::new("selabel_lookup");
        lookup.args(["-b", "file", "-f"]).arg(self.directory.join("contexts")).args(["-k", path]);
        let said = run(&mut lookup)?;
        Ok(said.split(':').nth(3).ok_or_else(|| format!("{path}: {said}"))?.to_owned())
    }
}

impl Rule {
    /// `allow SOURCE TARGET:CLASS { PERMISSION… }; [ BOOLEAN ]:True`
    fn parse(line: &str) -> Option<Self> {
        let (rule, condition) = line.strip_prefix("allow ")?.split_once(';')?;
        let (target, rest) = rule.split_once(' ')?.1.split_once(':')?;
        let (class, permissions) = rest.split_once(' ')?;
        let permissions = permissions.trim_matches(['{', '}', ' ']).split(' ').map(str::to_owned).collect();
        let boolean = condition.trim().strip_prefix("[ ").map(|rest| {
            // What holds without a boolean would be no less of a surprise.
            rest.strip_suffix(" ]:True").unwrap_or(rest).to_owned()
        });
        Some(Self { target: target.to_owned(), class: class.to_owned(), permissions, boolean })
    }
}

fn set<const N: usize>(types: [&'static str; N]) -> BTreeSet<&'static str> {
    types.into()
}

/// Terminals and consoles of a start by hand, and what all programs share: not the daemon's affair.
const EVERYBODYS: [&str; 14] = [
    "console_device_t",
    "devtty_t",
    "initrc_devpts_t",
    "null_device_t",
    "zero_device_t",
    "devpts_t",
    "ptynode",
    "tty_device_t",
    "ttynode",
    "urandom_device_t",
    "ld_so_cache_t",
    "ld_so_t",
    "lib_t",
    "textrel_shlib_t",
];

fn own(types: BTreeSet<&str>) -> BTreeSet<&str> {
    types.into_iter().filter(|name| !EVERYBODYS.contains(name)).collect()
}

#[test]
fn on_the_network_it_reaches_http_postgresql_and_names_alone() {
    let Some(policy) = policy() else { return };
    let connects = |boolean| policy.targets("tcp_socket", &["name_connect"], boolean);
    assert_eq!(connects(None), set(["dns_port_t", "http_port_t", "postgresql_port_t"]));
    assert_eq!(connects(Some(CONNECT_PROXY)), set(["http_cache_port_t", "squid_port_t"]));
    assert_eq!(policy.targets("tcp_socket", &["name_bind"], None), set(["http_port_t"]));
    assert_eq!(policy.targets("tcp_socket", &["listen", "accept"], None), set([DAEMON]));
    assert_eq!(policy.targets("udp_socket", &["name_bind"], None), set([]));
    for class in ["rawip_socket", "packet_socket", "netlink_audit_socket", "bpf", "tun_socket"] {
        assert_eq!(policy.targets(class, &["create"], None), set([]), "{class}");
    }
    let stream = policy.targets("unix_stream_socket", &["connectto"], None);
    assert!(stream.contains("postgresql_t") && !stream.contains("init_t"), "{stream:?}");
}

#[test]
fn it_writes_where_its_spools_and_state_are_alone() {
    let Some(policy) = policy() else { return };
    for permissions in
        [&["open", "write"][..], &["open", "append"], &["create"], &["unlink"], &["rename"], &["setattr"]]
    {
        let always = own(policy.targets("file", permissions, None));
        let mut expected = set(["public_content_rw_t", "rudder_relayd_data_t", "rudder_relayd_tmp_t"]);
        // Its own /proc.
        if permissions.contains(&"open") {
            expected.insert(DAEMON);
        }
        assert_eq!(always, expected, "{permissions:?}");
        let managed = policy.targets("file", permissions, Some(MANAGE_NODES));
        assert_eq!(managed, set(["rudder_relayd_var_lib_t"]), "{permissions:?}");
    }
    let directories = own(policy.targets("dir", &["add_name"], None));
    let expected = ["public_content_rw_t", "rudder_relayd_data_t", "rudder_relayd_runtime_t", "tmp_t"];
    assert_eq!(directories, set(expected));
    assert_eq!(own(policy.targets("chr_file", &["write"], None)), set([]));
    assert_eq!(policy.targets("blk_file", &["read"], None), set([]));
    assert_eq!(policy.targets("dir", &["watch"], None), set(["public_content_rw_t"]));
    assert_eq!(policy.targets("file", &["map", "write"], None), set(["rudder_relayd_data_t"]));
}

#[test]
fn it_reads_its_configuration_and_what_libraries_need_alone() {
    let Some(policy) = policy() else { return };
    let read = own(policy.targets("file", &["open", "read"], None));
    let own_types = [
        "public_content_rw_t",
        "public_content_t",
        "rudder_relayd_ca_t",
        "rudder_relayd_data_t",
        "rudder_relayd_etc_t",
        "rudder_relayd_exec_t",
        "rudder_relayd_policies_t",
        "rudder_relayd_t",
        "rudder_relayd_tmp_t",
        "rudder_relayd_var_lib_t",
    ];
    let of_the_system = [
        // The key, by protocol 10.4; credentials of the unit; the node id.
        "httpd_config_t",
        "ramfs_t",
        "usr_t",
        "cert_t",
        "cpu_online_t",
        "etc_t",
        "krb5_conf_t",
        "locale_t",
        "net_conf_t",
        "proc_t",
        "sysctl_crypto_t",
        // Names by systemd.
        "systemd_machined_runtime_t",
        "systemd_resolved_runtime_t",
    ];
    assert_eq!(read, own_types.into_iter().chain(of_the_system).collect());
    assert_eq!(policy.targets("file", &["read"], Some(REMOTE_RUN)), set(["sudo_exec_t"]));
    // The key that signs policies is not the daemon's: it may not even see its name.
    assert!(policy.rules.iter().all(|rule| rule.target != "rudder_relayd_policy_key_t"));
}

#[test]
fn it_runs_nothing_but_sudo_and_that_by_its_boolean() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    assert_eq!(own(policy.targets("file", &["execute"], None)), set(["rudder_relayd_exec_t"]));
    assert_eq!(policy.targets("file", &["execute"], Some(REMOTE_RUN)), set(["sudo_exec_t"]));
    assert_eq!(policy.targets("process", &["transition"], None), set([]));
    assert_eq!(policy.targets("process", &["transition"], Some(REMOTE_RUN)), set(["initrc_t"]));
    for permission in ["execute_no_trans", "execmod"] {
        assert_eq!(own(policy.targets("file", &[permission], None)), set([]), "{permission}");
    }
    for permission in
        ["ptrace", "execmem", "execstack", "setexec", "setcurrent", "dyntransition", "setrlimit"]
    {
        assert_eq!(policy.targets("process", &[permission], None), set([]), "{permission}");
    }
    let capabilities: Vec<_> = policy
        .rules
        .iter()
        .filter(|rule| rule.class.starts_with("cap"))
        .map(|rule| &rule.permissions)
        .collect();
    assert_eq!(capabilities, [&BTreeSet::from(["net_bind_service".to_owned()])]);
    let transitions = policy.search(&["-T", "-s", DAEMON, "-c", "process"])?;
    let expected = format!("type_transition {DAEMON} sudo_exec_t:process initrc_t; [ {REMOTE_RUN} ]:True");
    assert_eq!(transitions.trim(), expected);
    // Nothing else depends on a boolean of ours.
    let booleans: BTreeSet<_> = policy.rules.iter().filter_map(|rule| rule.boolean.as_deref()).collect();
    let ours: BTreeSet<_> = booleans.into_iter().filter(|name| name.starts_with("rudder")).collect();
    assert_eq!(ours, set([REMOTE_RUN, MANAGE_NODES, CONNECT_PROXY]));
    let defaults = run(Command::new("seinfo").args(["-b", "-x"]).arg(policy.directory.join("policy")))?;
    for (boolean, default) in [(REMOTE_RUN, true), (MANAGE_NODES, false), (CONNECT_PROXY, false)] {
        assert!(defaults.contains(&format!("bool {boolean} {default};")), "{boolean}");
    }
    Ok(())
}

#[test]
fn the_front_reads_what_is_known_of_nodes_and_no_more_of_ours() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    let rules = policy.search(&["-A", "-s", "httpd_t"])?;
    let rules: Vec<_> = rules.lines().filter_map(Rule::parse).collect();
    let ours: BTreeSet<_> = rules
        .iter()
        .filter(|rule| rule.target.starts_with("rudder_relayd") && rule.class == "file")
        .map(|rule| (rule.target.as_str(), rule.permissions.contains("write")))
        .collect();
    assert_eq!(ours, [("rudder_relayd_var_lib_t", false)].into());
    let connects = |rule: &Rule| {
        rule.target == "http_port_t" && rule.permissions.contains("name_connect") && rule.boolean.is_none()
    };
    assert!(rules.iter().any(connects));
    // The service manager starts the daemon, also without new privileges.
    let start = policy.search(&["-T", "-s", "init_t", "-t", "rudder_relayd_exec_t"])?;
    assert!(start.contains(&format!("process {DAEMON};")), "{start}");
    let start = policy.search(&["-A", "-s", "init_t", "-t", DAEMON, "-c", "process2"])?;
    assert!(start.contains("nnp_transition"), "{start}");
    Ok(())
}

/// What the daemon does with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Manage,
    /// Reads, and writes where it keeps the node list itself.
    ManageNodes,
    Read,
    /// Left to commands of an operator.
    Nothing,
}

/// What the daemon does with the place of each setting. The places themselves are the program's.
const USES: [(&str, Use); 17] = [
    ("general.nodes_list_file", Use::ManageNodes),
    ("general.nodes_certs_file", Use::ManageNodes),
    ("general.node_id_file", Use::Read),
    ("ca.directory", Use::Read),
    ("processing.inventory.directory", Use::Manage),
    ("processing.reporting.directory", Use::Manage),
    ("output.upstream.server_certificate_file", Use::Read),
    ("gateway.certificate", Use::Read),
    ("gateway.key", Use::Read),
    ("policies.directory", Use::Read),
    ("policies.published", Use::Read),
    ("policies.key_directory", Use::Nothing),
    ("policies.groups", Use::Nothing),
    ("policies.archives", Use::Manage),
    ("policies.cache.directory", Use::Manage),
    ("shared_files.path", Use::Manage),
    ("shared_folder.path", Use::Read),
];

/// Settings that are paths, with their defaults, as the program tells them.
fn places(reference: &str) -> Vec<(String, String)> {
    let (mut section, mut places) = (String::new(), Vec::new());
    for line in reference.lines() {
        if let Some(name) = line.strip_prefix("### `[") {
            section = name.trim_end_matches("]`").to_owned();
        }
        let cells: Vec<_> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        let [key, kind, default, meaning, ..] = cells[..] else { continue };
        let default = default.trim_matches('"');
        if kind.starts_with("a path") && default.starts_with('/') {
            places.push((format!("{section}.{key}"), default.to_owned()));
        }
        let words = meaning.split([' ', ';', ',']).map(|word| word.trim_end_matches('.'));
        places.extend(
            words.filter(|word| word.ends_with(".db")).map(|word| (section.clone(), word.to_owned())),
        );
    }
    places
}

#[test]
fn file_contexts_fit_the_defaults_of_the_settings() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    let relayd = programs::find("relayd")?;
    let reference = run(Command::new(&relayd).args(["config", "reference"]))?;
    let mut places = places(&reference);
    let at =
        places.iter().position(|(section, _)| section == "output.database").ok_or("no embedded database")?;
    let database = places.remove(at).1;
    let known: BTreeSet<_> = USES.map(|(setting, _)| setting).into();
    let there: BTreeSet<_> = places.iter().map(|(setting, _)| setting.as_str()).collect();
    assert_eq!(there, known, "a place is new, or gone: say in USES what the daemon does with it");

    let is_read = |name: &str| policy.targets("file", &["open", "read"], None).contains(name);
    let is_managed = |name: &str, boolean| {
        ["create", "write", "unlink", "rename"]
            .iter()
            .all(|p| policy.targets("file", &[p], boolean).contains(name))
    };
    let check = |place: &str, purpose: Use| -> Result<()> {
        // A trailing slash is not part of a name.
        for path in [place.trim_end_matches('/').to_owned(), format!("{}/below", place.trim_end_matches('/'))]
        {
            let name = policy.type_of(&path)?;
            let fits = match purpose {
                Use::Manage => is_managed(&name, None),
                Use::ManageNodes => {
                    is_read(&name) && is_managed(&name, Some(MANAGE_NODES)) && !is_managed(&name, None)
                }
                Use::Read => {
                    is_read(&name) && !is_managed(&name, None) && !is_managed(&name, Some(MANAGE_NODES))
                }
                Use::Nothing => !is_managed(&name, None),
            };
            // The certificate of the upstream lies with what the daemon may have to write.
            let excused = purpose == Use::Read && name == "rudder_relayd_var_lib_t" && is_read(&name);
            assert!(fits || excused, "{purpose:?} of {path}, which is {name}");
            // Files have nothing below them.
            if path.rsplit('/').next().is_some_and(|name| name.contains('.')) || place.ends_with(".priv") {
                break;
            }
        }
        Ok(())
    };
    check(&database, Use::Manage)?;
    for (setting, place) in &places {
        let purpose = USES.iter().find(|(known, _)| known == setting).map(|(_, purpose)| *purpose);
        check(place, purpose.ok_or("not in USES")?)?;
    }

    // The configuration directory, and what the unit lets it write.
    let help = run(Command::new(&relayd).arg("--help"))?;
    let etc = help.split("[default: ").nth(1).and_then(|rest| rest.split(']').next()).ok_or("no default")?;
    assert_eq!(policy.type_of(&format!("{}/main.conf", etc.trim()))?, "rudder_relayd_etc_t");
    let unit = fs::read_to_string(packaging().join("systemd/rudder-relayd.service"))?;
    let paths: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ReadWritePaths=-")).collect();
    assert!(paths.len() >= 5, "{unit}");
    for path in paths {
        let name = policy.type_of(path)?;
        assert!(is_managed(&name, None) || is_managed(&name, Some(MANAGE_NODES)), "{path}, which is {name}");
    }
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).ok_or("no program")?;
    assert_eq!(policy.type_of(program)?, "rudder_relayd_exec_t");
    let runtime =
        unit.lines().find_map(|line| line.strip_prefix("RuntimeDirectory=")).ok_or("no directory")?;
    assert_eq!(policy.type_of(&format!("/run/{runtime}/api.sock"))?, "rudder_relayd_runtime_t");
    Ok(())
}

/// The table of protocol 10.4, in which others rely on these names.
#[test]
fn file_contexts_are_those_of_existing_installations() -> Result<()> {
    let Some(policy) = policy() else { return Ok(()) };
    let protocol = fs::read_to_string(packaging().parent().ok_or("no parent")?.join("docs/protocol.md"))?;
    let section =
        protocol.split("### 10.4 ").nth(1).and_then(|rest| rest.split("### 10.5").next()).ok_or("no 10.4")?;
    let mut checked = 0;
    for line in section.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [paths, expected] = cells[..] else { panic!("{line}") };
        for path in paths.split(", ").map(|path| path.trim_matches('`')) {
            assert_eq!(policy.type_of(path)?, expected.trim_matches('`'), "{path}");
            checked += 1;
        }
    }
    assert!(checked >= 11, "{checked}");
    Ok(())
}

/// The script that puts the module to use, with programs that only note how they were called.
#[test]
fn the_script_installs_and_removes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let notes = directory.path().join("notes");
    let bin = directory.path().join("bin");
    fs::create_dir(&bin)?;
    for tool in ["semodule", "semanage", "setsebool", "getsebool", "restorecon", "make"] {
        // The port is there already; of the two booleans this policy knows one.
        let script = format!(
            "#!/bin/sh\necho {tool} \"$@\" >>{notes}\ncase \"{tool} $*\" in 'semanage port -a'* | 'getsebool httpd'*) exit 1 ;; esac\n",
            notes = notes.display()
        );
        fs::write(bin.join(tool), script)?;
        fs::set_permissions(bin.join(tool), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let call = |argument: &str| -> Result<String> {
        let _ = fs::remove_file(&notes);
        let path = format!("{}:{}", bin.display(), env::var("PATH")?);
        run(Command::new(packaging().join("scripts/relayd/selinux-module")).arg(argument).env("PATH", path))?;
        Ok(fs::read_to_string(&notes)?)
    };
    let installed = call("install")?;
    for line in [
        "rudder-relay.pp",
        "semanage port -m -t http_port_t -p tcp 3030",
        "setsebool -P allow_httpd_anon_write on",
    ] {
        assert!(installed.contains(line), "{line}: {installed}");
    }
    assert!(!installed.contains("-P httpd_anon_write"), "{installed}");
    let removed = call("remove")?;
    for line in ["semanage port -d -t http_port_t -p tcp 3030", "semodule -r rudder-relay"] {
        assert!(removed.contains(line), "{line}: {removed}");
    }
    assert!(call("nonsense").is_err());
    Ok(())
}
