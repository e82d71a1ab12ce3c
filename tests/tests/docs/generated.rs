// SPDX-License-Identifier: Apache-2.0
//! `docs/configuration.md`: what both programs print about their settings.

use std::{fs, process::Command};

use tests::{Result, programs};

use crate::workspace;

const START: &str = "\
# Configuration

<!-- Generated: UPDATE_GOLDEN=1 cargo test -p tests --no-default-features --test docs configuration_is -->

All settings of both programs, from their declarations. `relayd config reference` and `agent config reference` print
the same for the version that is installed, `relayd config default` and `agent config default` a commented file to begin
with. The manual has it as `relayd.conf(5)` and `relayd-agent.conf(5)`.

What applies on a server, without secrets:

```console
$ relayd config show
# main.conf
[general]
…
```

`relayd --test` and `agent config check` name all mistakes at once, with file, line and remedy. What changes in `main.conf`
applies after a restart; a reload reads the node list, certificates, keys, and `logging.conf`. The settings of the agent
are read at the start of each command, and by `agent daemon` when it starts.

```console
$ relayd --test
Syntax: OK
$ agent config check
the settings are valid
```

# relayd
";

#[test]
fn configuration_is_up_to_date() -> Result<()> {
    let relayd = printed("relayd")?;
    let (_, relayd) = relayd.split_once("\n\n").ok_or("no title")?;
    let text = format!("{START}\n{relayd}\n# The agent\n\n{}", printed("agent")?);
    let copy = workspace().join("docs/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&copy, &text)?;
    }
    assert!(
        fs::read_to_string(&copy)? == text,
        "docs/configuration.md is stale: UPDATE_GOLDEN=1 cargo test -p tests --test docs configuration_is"
    );
    Ok(())
}

fn printed(program: &str) -> Result<String> {
    let output = Command::new(programs::find(program)?).args(["config", "reference"]).output()?;
    Ok(String::from_utf8(output.stdout)?)
}
