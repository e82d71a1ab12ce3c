// SPDX-License-Identifier: Apache-2.0
//! What the daemon may do, as whole sets.

use std::{collections::BTreeSet, process::Command};

use tests::Result;

use crate::{
    CONNECT_PROXY, DAEMON, MANAGE_NODES, REMOTE_RUN,
    policy::{Rule, policy, run},
};

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
    let expected = [
        "public_content_rw_t",
        "rudder_relayd_data_t",
        "rudder_relayd_runtime_t",
        "rudder_relayd_tmp_t",
        "tmp_t",
    ];
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
