// SPDX-License-Identifier: Apache-2.0
//! The SELinux module, compiled with Debian's policy headers, linked with Debian's policy, and asked. What the daemon
//! may do is compared as whole sets, rules that come from attributes included: one access more fails as one less does.
//!
//! | file | what |
//! |---|---|
//! | `policy` | the module within Debian's policy, and questions to it |
//! | `access` | what the daemon may do, and the HTTP server in front |
//! | `places` | types of files |

mod access;
mod places;
mod policy;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tests::Result;

const DAEMON: &str = "rudder_relayd_t";
const REMOTE_RUN: &str = "rudder_relayd_enable_remote_run";
const MANAGE_NODES: &str = "rudder_relayd_manage_nodes";
const CONNECT_PROXY: &str = "rudder_relayd_connect_proxy";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging")
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
        fs::set_permissions(bin.join(tool), PermissionsExt::from_mode(0o755))?;
    }
    let call = |argument: &str| -> Result<String> {
        let _ = fs::remove_file(&notes);
        let path = format!("{}:{}", bin.display(), env::var("PATH")?);
        policy::run(
            Command::new(packaging().join("scripts/relayd/selinux-module")).arg(argument).env("PATH", path),
        )?;
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
