// SPDX-License-Identifier: Apache-2.0
//! schemathesis against the local API of a running daemon: requests made from the document that it serves,
//! good and bad ones. `tests/schemathesis.toml` says which checks apply.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use tests::{Result, site::Site};

use crate::api_documents::world::with_directories;

/// How many requests it makes up for each operation, beside those it always asks. A number and no time: what is
/// asked, and so whether the test fails, would depend on how fast the machine is.
const EXAMPLES: &str = "--max-examples 15";

#[test]
fn the_local_api_does_what_its_document_says_whatever_it_is_asked() -> Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let site = Site::new()?;
    let mut server = site.prepare_root(site.sqlite())?;
    with_directories(&mut server);
    server.set("processing.reporting.output", "\"disabled\"");
    // Nobody is below this server: runs end at once.
    fs::write(server.directory().join("nodeslist.json"), "{}")?;
    let folder = server.directory().join("shared-folder");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("setup.sh"), "#!/bin/sh\n")?;
    server.start()?;

    let base = format!("http://{}", server.api());
    let output = Command::new(python.with_file_name("schemathesis"))
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml"))
        .args(["run", &format!("{base}/rudder/relay-api/1/openapi.json"), "--url", &base])
        // For more than that: `SCHEMATHESIS="--max-examples 200 --seed 7" cargo test -p tests schemathesis`.
        .args(std::env::var("SCHEMATHESIS").as_deref().unwrap_or(EXAMPLES).split(' '))
        // Its own files belong to this run.
        .current_dir(server.directory())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    server.check().map_err(|e| format!("{e}\n{said}"))?;
    let panics: Vec<_> =
        server.log().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    assert!(panics.is_empty(), "{panics:?}");
    assert!(output.status.success(), "{said}");
    let generated =
        said.lines().find(|line| line.contains(" generated, ")).unwrap_or_default().trim().to_owned();
    println!("{generated}");
    let count: usize = generated.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    assert!(count > 1000, "schemathesis asked almost nothing: {said}");
    Ok(())
}

/// The Python that has schemathesis; `None`, and said, where it cannot be installed, which is an error in CI.
pub fn python() -> Result<Option<PathBuf>> {
    static INSTALLED: LazyLock<std::result::Result<PathBuf, String>> =
        LazyLock::new(|| install().map_err(|e| e.to_string()));
    match &*INSTALLED {
        Ok(python) => Ok(Some(python.clone())),
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: schemathesis cannot be installed here, which would be an error in CI: {why}");
            Ok(None)
        }
        Err(why) => Err(format!("schemathesis cannot be installed: {why}").into()),
    }
}

/// The Python, with the versions in `requirements.txt`, in a directory below `target/` that is made when it is
/// not there or those have changed.
fn install() -> Result<PathBuf> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let python = directory.join("bin/python");
    let installed = directory.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) && python.is_file() {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<()> {
        let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        Err(format!("{command:?}: {}: {said}", output.status).into())
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(pip).arg(&requirements))?;
    fs::write(installed, wanted)?;
    Ok(python)
}
