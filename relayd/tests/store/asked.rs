// SPDX-License-Identifier: Apache-2.0
//! Questions as requests ask them, and what is refused of them.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, StatusCode, header};
use relayd::{
    config::DatabaseUrl,
    db::Database,
    fleet::{Fleet as Service, Settings},
    http::{Call, Caller, Service as _},
};
use tokio_util::sync::CancellationToken;

use crate::common::fleet::config_of;

pub async fn get(service: &Service, path: &str, query: &str) -> (StatusCode, HeaderMap, String) {
    let call = Call {
        caller: Caller::Operator,
        method: Method::GET,
        path: path.to_owned(),
        rest: String::new(),
        query: Some(query.to_owned()),
        headers: HeaderMap::new(),
        body: Empty::new().map_err(|never| match never {}).boxed(),
        stop: CancellationToken::new(),
    };
    let (head, body) = service.answer(call).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

pub async fn pages_follow_each_other(url: &DatabaseUrl) {
    let database = Database::open(&config_of(url.clone())).unwrap();
    let service = Service::new(database, Settings::new(Duration::from_secs(300)));
    let (mut link, mut seen) = (Some("/rudder/relay-api/1/nodes?limit=1&name=n*".to_owned()), Vec::new());
    while let Some(next) = link {
        let (path, query) = next.split_once('?').unwrap();
        let (status, headers, body) = get(&service, path, query).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&json["result"], &json["action"]), (&"success".into(), &"getNodes".into()));
        seen.extend(json["data"]["items"].as_array().unwrap().iter().map(|node| node["node_id"].clone()));
        let next = headers.get(header::LINK).map(|link| link.to_str().unwrap());
        link = next.map(|link| link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned());
    }
    assert_eq!(seen, ["n0", "n1", "n2", "n3"]);
    let compliance = "/rudder/relay-api/1/compliance";
    let (_, headers, table) = get(&service, compliance, "by=node&status=failing&format=csv").await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("node_id,") && lines[1].starts_with("n0,"), "{table}");
    for (path, query) in [
        (compliance, "by=nobody"),
        (compliance, "status=failing"),
        (compliance, "at=tomorrow"),
        (compliance, "at=2999-01-01"),
        (compliance, "by=rule&limit=0"),
        (compliance, "by=rule&by=rule"),
        (compliance, "by=rule&status=wrong"),
        (compliance, "format=csv"),
        (compliance, "format=xml"),
        ("/rudder/relay-api/1/changes", ""),
        ("/rudder/relay-api/1/changes", "from=1h&to=2h"),
        ("/rudder/relay-api/1/runs", "from=1h&to=2h"),
        ("/rudder/relay-api/1/compliance/nodes/n0/timeline", "from=1h&to=2h"),
        ("/rudder/relay-api/1/nodes", "after=zzz"),
        ("/rudder/relay-api/1/inventories", "after=zzz"),
        ("/rudder/relay-api/1/inventories/export", "after=zzz"),
        ("/rudder/relay-api/1/changes", "from=1h&after=zzz"),
        ("/rudder/relay-api/1/compliance/failing", "after=zzz"),
        (compliance, "by=node&after=zzz"),
        (compliance, "at=2020-01-01"),
        (compliance, "by=node&at=2020-01-01"),
        (compliance, "by=rule&at=2020-01-01"),
        ("/rudder/relay-api/1/compliance/failing", "at=2020-01-01"),
        ("/rudder/relay-api/1/inventories/export", "section=bogus"),
        ("/rudder/relay-api/1/nodes/n0/inventory", "section=hardware,bogus"),
        ("/rudder/relay-api/1/runs", "after=x"),
        ("/rudder/relay-api/1/runs", "config_id=20261120-120000-3ad37587"),
        ("/rudder/relay-api/1/runs", "node="),
        (compliance, "node="),
        (compliance, "by=rule&after="),
    ] {
        let (status, _, text) = get(&service, path, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}?{query}: {text}");
    }
    let no_node = "no node \"n9\" is known";
    for (path, query, why) in [
        ("nodes/%ff", "", "NOT FOUND"),
        ("nodes/n9", "", no_node),
        ("nodes/n9/inventory", "", no_node),
        ("nodes/n0/inventory", "", "no inventory of \"n0\" is stored"),
        ("nodes/n0/inventory/changes", "", "no inventory of \"n0\" is stored"),
        ("runs/n0/2026-01-01", "", "no run of \"n0\" that began at 2026-01-01T00:00:00Z is stored"),
        (
            "runs/n0/2026-01-01",
            "format=text",
            "no run of \"n0\" that began at 2026-01-01T00:00:00Z is stored",
        ),
        ("compliance", "node=n9", no_node),
        ("compliance", "by=node&node=n9", no_node),
        ("compliance", "by=rule&node=n9", no_node),
        ("compliance", "rule=nosuch", "no result of a rule \"nosuch\" is known"),
        ("compliance", "by=node&directive=nosuch", "no result of a directive \"nosuch\" is known"),
        ("compliance/failing", "rule=r1&policy=nosuch", "no result of a technique \"nosuch\" is known"),
        ("changes", "from=1h&rule=nosuch", "no result of a rule \"nosuch\" is known"),
        ("compliance/failing", "node=n9", no_node),
        ("compliance/nodes/n9/timeline", "", no_node),
        ("changes", "from=1h&node=n9", no_node),
        ("runs", "node=n9", no_node),
        ("packages", "by=version&node=n9", no_node),
        ("updates", "node=n9", no_node),
    ] {
        let (status, _, text) = get(&service, &format!("/rudder/relay-api/1/{path}"), query).await;
        assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, why), "{path}?{query}");
    }
    for (path, query, why) in [
        ("packages", "name=bash&versions=3", "\"versions\" is not known here"),
        (
            "vulnerabilities",
            "severity=bad",
            "severity: \"bad\": no severity; there are critical, high, medium, low and unknown",
        ),
    ] {
        let (status, _, text) = get(&service, &format!("/rudder/relay-api/1/{path}"), query).await;
        assert_eq!((status, text.as_str()), (StatusCode::BAD_REQUEST, why));
    }
    for (path, query) in [
        ("compliance/failing", "node=n2"),
        ("compliance/nodes/n3/timeline", ""),
        ("runs", "config_id=x&from=1h"),
        ("runs", "config_id=x&node=n0"),
        ("compliance", "rule=r1&directive=d-r1&policy=Files"),
        ("compliance", "at=90m"),
    ] {
        let (status, _, text) = get(&service, &format!("/rudder/relay-api/1/{path}"), query).await;
        assert_eq!(status, StatusCode::OK, "{path}?{query}: {text}");
    }
}
