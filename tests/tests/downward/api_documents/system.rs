// SPDX-License-Identifier: Apache-2.0
//! `system/*`, metrics and the document itself, on the local API.

use std::fs;

use tests::{Result, server::Server};

use super::{
    ask::{To, ask},
    walk::Walk,
};

/// All answers of these operations.
pub fn walk(walk: &Walk, server: &Server) -> Result<()> {
    let (to, local) = (To::local(server), &walk.local);
    for id in ["getSystemInfo", "getStatus", "reloadConfiguration", "getMetrics"] {
        local.expect_all(200, id, &to, &ask())?;
        local.expect_all(413, id, &to, &ask().announced(2 * 1024 * 1024))?;
    }
    let document = local.expect_all(200, "getOpenApi", &to, &ask())?;
    let kept = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../api-docs/local.json"))?;
    assert!(document.body == kept, "the daemon serves another document than api-docs/local.json");
    let known = ask().header("If-None-Match", document.header("ETag"));
    local.expect_all(304, "getOpenApi", &to, &known)?;

    // What does not reload is said, and what was there stays in use.
    let logging = server.directory().join("etc/logging.conf");
    let good = fs::read(&logging)?;
    fs::write(&logging, "[general]\nlevel = 7\n")?;
    let failed = local.expect_all(500, "reloadConfiguration", &to, &ask())?;
    assert_eq!(failed.json()?["result"], "error");
    // An entry in error is no error of the request.
    let status = local.expect_all(200, "getStatus", &to, &ask())?;
    assert_eq!(status.json()?["result"], "success");
    fs::write(&logging, good)?;
    local.expect_all(200, "reloadConfiguration", &to, &ask())?;
    Ok(())
}
