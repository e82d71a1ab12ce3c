// SPDX-License-Identifier: Apache-2.0
//! Versions live side by side (protocol 17): one daemon, one endpoint, two versions.

use serde_json::{Value, json};
use tests::{Result, site::Site};

use super::{
    ask::{To, ask},
    walk::Walk,
    world::with_directories,
};

#[test]
fn versions_1_and_2_of_remote_run_answer_side_by_side() -> Result<()> {
    let walk = Walk::new()?;
    let site = Site::new()?;
    let mut server = site.prepare_root(site.sqlite())?;
    with_directories(&mut server);
    server.start()?;
    let form = ask()
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("keep_output=true&nodes=nobody-knows-me");
    let order = ask()
        .header("Content-Type", "application/json")
        .body(json!({"nodes": ["nobody-knows-me"]}).to_string());
    for (document, to) in [(&walk.local, To::local(&server)), (&walk.gateway, To::anonymous(&server)?)] {
        // Version 1 skips who is unknown, and says nothing about it. Without a number it is the same.
        for id in ["runNodes", "runNodesUnversioned"] {
            assert!(document.expect(200, id, &to, &form)?.body.is_empty());
            // A form has no JSON in it.
            document.expect(500, id, &to, &order)?;
        }
        // Version 2 tells the end of each node that is asked.
        let reply = document.expect(200, "run", &to, &order)?;
        let lines: Vec<Value> = String::from_utf8_lossy(&reply.body)
            .lines()
            .map(serde_json::from_str)
            .collect::<std::result::Result<_, _>>()?;
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap_or_default()).collect();
        assert_eq!(events, ["run", "refused", "end"], "{lines:?}");
        document.expect(400, "run", &to, &form)?;
        // There is no version 2 of what has none, and no version 3 of anything.
        let info = walk.local.operation("getSystemInfo")?;
        for version in ["2", "3", "01", "1.0", "v1"] {
            let path = info.path.replace("/1/", &format!("/{version}/"));
            let elsewhere = super::document::Operation { path, ..info.clone() };
            assert_eq!(ask().send(&elsewhere, &To::local(&server))?.status, 404, "{version}");
        }
    }
    Ok(())
}
