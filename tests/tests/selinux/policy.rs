// SPDX-License-Identifier: Apache-2.0
//! The module, compiled, linked with Debian's policy, and asked.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tests::{Result, programs};

use crate::{DAEMON, packaging};

/// The module within Debian's policy.
pub struct Policy {
    pub directory: PathBuf,
    /// All that the daemon may do, as `sesearch` prints it.
    pub rules: Vec<Rule>,
}

/// A rule that allows something.
#[derive(Debug)]
pub struct Rule {
    pub target: String,
    pub class: String,
    pub permissions: BTreeSet<String>,
    pub boolean: Option<String>,
}

/// The compiled policy; `None`, and said, without the tools, which is an error in CI.
pub fn policy() -> Option<&'static Policy> {
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

pub fn run(command: &mut Command) -> Result<String> {
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

    pub fn search(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("sesearch").args(arguments).arg(self.directory.join("policy")))
    }

    /// The types to which the daemon has all of these permissions, always or with that boolean.
    pub fn targets(&self, class: &str, permissions: &[&str], boolean: Option<&str>) -> BTreeSet<&str> {
        let has = |rule: &&Rule| {
            rule.class == class
                && rule.boolean.as_deref() == boolean
                && permissions.iter().all(|permission| rule.permissions.contains(*permission))
        };
        self.rules.iter().filter(has).map(|rule| rule.target.as_str()).collect()
    }

    /// The type of a path, or of what is below a directory.
    pub fn type_of(&self, path: &str) -> Result<String> {
        let mut lookup = Command::new("selabel_lookup");
        lookup.args(["-b", "file", "-f"]).arg(self.directory.join("contexts")).args(["-k", path]);
        let said = run(&mut lookup)?;
        Ok(said.split(':').nth(3).ok_or_else(|| format!("{path}: {said}"))?.to_owned())
    }
}

impl Rule {
    /// `allow SOURCE TARGET:CLASS { PERMISSION… }; [ BOOLEAN ]:True`
    pub fn parse(line: &str) -> Option<Self> {
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
