//! Every fault, as a client meets it, and what it leaves behind.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ORGANIZATION, Running, SECRETS, VERSIONS, answer, eventually, raw_create, start, start_with};

/// A fault that hits the next creation only.
fn next_create(action: &Value) -> Value {
    json!({"match": {"operation": "create_version"}, "count": 1, "action": action})
}

async fn create_raw(running: &Running, action: Value) -> std::io::Result<Vec<u8>> {
    running.fault(next_create(&action)).await;
    running.raw(&raw_create()).await
}

#[tokio::test]
async fn a_status_comes_before_or_after_the_commit() {
    let running = start().await;
    for (code, committed) in [(500, false), (502, true), (504, true), (429, false)] {
        let before = running.values().await.len();
        let action = json!({"status": {"code": code, "committed": committed}});
        running.fault(next_create(&action)).await;
        let (status, body) = running.post(VERSIONS, json!({"value": "YQ=="})).await;
        assert_eq!(status, code);
        assert!(body["error"].is_string());
        assert_eq!(running.values().await.len() - before, usize::from(committed));
        let entry = running.journal().await.pop().unwrap();
        assert_eq!((&entry["status"], &entry["committed"]), (&json!(code), &json!(committed)));
        assert_eq!(entry["faults"].as_array().unwrap().len(), 1);
        assert_eq!(entry["version_id"].is_string(), committed);
    }
    assert_eq!(running.post(VERSIONS, json!({"value": "YQ=="})).await.0, 200, "count is used up");
}

#[tokio::test]
async fn a_status_has_the_body_and_headers_asked_for() {
    let running = start().await;
    let act = async |status: Value| {
        running.fault(json!({"count": 1, "action": {"status": status}})).await;
        running.request(Method::GET, VERSIONS).send().await.unwrap()
    };
    let throttled = act(json!({"code": 429, "retry_after": 7})).await;
    assert_eq!(throttled.headers()["retry-after"], "7");
    let page = act(json!({"code": 404, "body": "html"})).await;
    assert_eq!(page.headers()["content-type"], "text/html");
    assert!(page.text().await.unwrap().starts_with("<html>"));
    assert_eq!(act(json!({"code": 503, "body": "empty"})).await.text().await.unwrap(), "");
    let moved = act(json!({"code": 307, "headers": {"location": "http://127.0.0.1:1/"}})).await;
    assert_eq!((moved.status().as_u16(), &moved.headers()["location"]), (307, &"http://127.0.0.1:1/".parse().unwrap()));
}

#[tokio::test]
async fn a_delay_lies_on_either_side_of_the_commit() {
    let running = start().await;
    for (at, at_timeout) in [("after_commit", 1), ("before_commit", 0)] {
        running.request(Method::PUT, "/_control/seed").body(crate::support::SEED).send().await.unwrap();
        let delay = json!({"delay": {"at": at, "duration": "1500ms"}});
        running.fault(next_create(&delay)).await;
        let error = running
            .request(Method::POST, VERSIONS)
            .json(&json!({"value": "YQ=="}))
            .timeout(Duration::from_millis(500))
            .send()
            .await
            .unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(running.values().await.len(), at_timeout, "{at}");
        let unfinished = running.journal().await.pop().unwrap();
        assert_eq!((&unfinished["finished"], &unfinished["status"]), (&json!(false), &Value::Null));
        // The client has gone, and the request is carried out all the same.
        eventually("the commit", async || running.values().await.len() == 1).await;
        eventually("the end", async || running.journal().await.pop().unwrap()["finished"] == true).await;
    }
}

#[tokio::test]
async fn a_connection_is_dropped_at_each_point() {
    let running = start().await;
    let drop = |at: &str| json!({"drop": {"at": at}});
    assert_eq!(create_raw(&running, drop("before_commit")).await.unwrap(), b"");
    assert_eq!(running.values().await.len(), 0);
    assert_eq!(create_raw(&running, drop("after_commit")).await.unwrap(), b"");
    assert_eq!(running.values().await.len(), 1);

    let head = String::from_utf8(create_raw(&running, drop("inside_headers")).await.unwrap()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("\r\n\r\n"), "{head}");
    assert_eq!(running.values().await.len(), 2);

    let whole = String::from_utf8(create_raw(&running, drop("inside_body")).await.unwrap()).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().parse::<usize>().unwrap();
    assert!(!body.is_empty() && body.len() < length, "{} of {length}", body.len());
    assert_eq!(running.values().await.len(), 3);

    for entry in running.journal().await {
        assert_eq!((&entry["finished"], &entry["status"]), (&json!(true), &Value::Null));
    }
}

#[tokio::test]
async fn a_drop_can_be_a_reset() {
    let running = start().await;
    for at in ["before_commit", "after_commit"] {
        let reset = create_raw(&running, json!({"drop": {"at": at, "reset": true}})).await;
        assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset, "{at}");
    }
    assert_eq!(running.values().await.len(), 1);
}

#[tokio::test]
async fn a_kept_alive_connection_can_be_dropped_too() {
    let running = start().await;
    running.get(VERSIONS).await;
    running.fault(next_create(&json!({"drop": {"at": "after_commit"}}))).await;
    let sent = running.request(Method::POST, VERSIONS).json(&json!({"value": "YQ=="})).send().await;
    assert!(sent.is_err());
    let entries = running.journal().await;
    assert_eq!(entries[0]["connection"], entries[1]["connection"]);
    assert_eq!((entries.len(), running.values().await.len()), (2, 1));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let running = start().await;
    running.fault(json!({"count": 1, "action": {"close_idle": {"after": "50ms"}}})).await;
    let request = format!("GET {VERSIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t-all\r\n\r\n");
    // Without the fault this would wait for ever: the connection is kept alive.
    let answer = running.raw(&request).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn answers_are_spoiled_and_the_request_is_carried_out() {
    let running = start().await;
    let mut created = 0;
    for (kind, wrong) in [
        ("missing_value", Box::new(|body: &Value| body.get("value").is_none()) as Box<dyn Fn(&Value) -> bool>),
        ("null_value", Box::new(|body| body["value"].is_null() && body.get("value").is_some())),
        ("bad_base64", Box::new(|body| body["value"] == "not*base64")),
        ("altered_value", Box::new(|body| body["value"].is_string() && body["value"] != "YQ==")),
        ("other_version_id", Box::new(|body| body["id"] == "9999999999999")),
        ("other_secret_id", Box::new(|body| body["secret_id"] == "9999999999999")),
        ("unknown_status", Box::new(|body| body["status"] == "quarantined")),
        ("wrong_type", Box::new(|body| body["version"].is_string())),
        ("invalid_json", Box::new(Value::is_null)),
        ("truncated_json", Box::new(Value::is_null)),
        ("empty_body", Box::new(Value::is_null)),
        ("not_utf8", Box::new(Value::is_null)),
    ] {
        running.fault(next_create(&json!({"malformed": kind}))).await;
        let path = format!("{VERSIONS}?return_secret_value=true");
        let (status, body) = running.post(&path, json!({"value": "YQ=="})).await;
        assert_eq!(status, 200, "{kind}");
        assert!(wrong(&body), "{kind}: {body}");
        created += 1;
        assert_eq!(running.values().await.len(), created, "{kind}");
    }
}

#[tokio::test]
async fn pages_lie() {
    let running = start().await;
    for _ in 0..3 {
        running.create("YQ==").await;
    }
    let page = async |kind: &str, query: &str| {
        running.fault(json!({"count": 1, "action": {"malformed": kind}})).await;
        running.get(&format!("{VERSIONS}?{query}")).await.1
    };
    let numbers = |list: &Value| -> Vec<u64> {
        let rows = list["versions"].as_array().unwrap();
        rows.iter().map(|row| row["version"].as_u64().unwrap()).collect()
    };
    assert_eq!(page("has_next_true", "limit=3").await["pagination"]["has_next"], true);
    assert_eq!(page("has_next_false", "limit=1").await["pagination"]["has_next"], false);
    assert_eq!(numbers(&page("duplicate_rows", "limit=2").await), [1, 1, 2, 2]);
    assert_eq!(numbers(&page("repeat_first_page", "offset=2&limit=2").await), [1, 2]);
}

#[tokio::test]
async fn a_list_shifts_between_its_pages() {
    let seed =
        crate::support::SEED.replacen("organizations:", "settings: {list_order: newest_first}\norganizations:", 1);
    let running = start_with(&seed).await;
    for _ in 0..4 {
        running.create("YQ==").await;
    }
    let page = async |offset: usize| -> Vec<u64> {
        let (_, list) = running.get(&format!("{VERSIONS}?limit=2&offset={offset}")).await;
        list["versions"].as_array().unwrap().iter().map(|row| row["version"].as_u64().unwrap()).collect()
    };
    running.fault(json!({"count": 1, "action": {"page_shift": "insert"}})).await;
    assert_eq!(page(0).await, [4, 3]);
    assert_eq!(page(2).await, [3, 2], "a row twice");
    running.fault(json!({"count": 1, "action": {"page_shift": "delete"}})).await;
    assert_eq!(page(0).await, [5, 4]);
    assert_eq!(page(2).await, [2, 1], "row 3 on no page");

    for (shift, secrets) in [("insert", 2), ("delete", 1)] {
        running.fault(json!({"count": 1, "action": {"page_shift": shift}})).await;
        running.get(SECRETS).await;
        let (_, list) = running.get(SECRETS).await;
        assert_eq!(list["secrets"].as_array().unwrap().len(), secrets);
    }
}

#[tokio::test]
async fn reads_lag_writes() {
    let running = start().await;
    running.fault(json!({"action": {"list_lag": {"duration": "1s"}}})).await;
    let id = running.create("YQ==").await;
    let shown = async || {
        let (_, list) = running.get(VERSIONS).await;
        let (_, secret) = running.get(&format!("{SECRETS}/{}", crate::support::SECRET)).await;
        let one = running.get(&format!("{VERSIONS}/{id}")).await.0;
        (list["pagination"]["count"].as_u64().unwrap(), secret["versions"].as_array().unwrap().len(), one)
    };
    assert_eq!(shown().await, (0, 0, 404));
    eventually("the version", async || shown().await == (1, 1, 200)).await;
}

#[tokio::test]
async fn a_request_is_carried_out_late() {
    let running = start().await;
    let late = |code: Value| next_create(&json!({"late_commit": {"after": "1s", "code": code}}));
    running.fault(late(json!(503))).await;
    let (status, _) = running.post(VERSIONS, json!({"value": "YQ=="})).await;
    assert_eq!((status, running.values().await.len()), (503, 0));
    assert_eq!(running.journal().await[0]["committed"], false);
    eventually("the commit", async || running.values().await.len() == 1).await;
    assert_eq!(running.journal().await[0]["committed"], true);

    running.fault(late(Value::Null)).await;
    assert_eq!(running.raw(&raw_create()).await.unwrap(), b"");
    assert_eq!(running.values().await.len(), 1);
    eventually("the commit", async || running.values().await.len() == 2).await;
}

#[tokio::test]
async fn what_is_late_does_not_reach_into_the_next_seed() {
    let running = start().await;
    running.fault(next_create(&json!({"late_commit": {"after": "50ms", "code": 500}}))).await;
    running.post(VERSIONS, json!({"value": "YQ=="})).await;
    running.request(Method::PUT, "/_control/seed").body(crate::support::SEED).send().await.unwrap();
    // A later one of the new seed is done first by the clock, so the earlier one had its chance.
    running.fault(next_create(&json!({"late_commit": {"after": "100ms", "code": 500}}))).await;
    running.post(VERSIONS, json!({"value": "Yg=="})).await;
    eventually("the commit", async || !running.values().await.is_empty()).await;
    assert_eq!(running.values().await, ["Yg=="]);
}

#[tokio::test]
async fn requests_above_the_rate_are_refused() {
    let running = start().await;
    running.fault(json!({"action": {"rate_limit": {"per_second": 0.1, "burst": 2}}})).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(running.get(VERSIONS).await.0);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let refused = running.request(Method::GET, VERSIONS).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "10");
}

#[tokio::test]
async fn a_body_trickles() {
    let running = start().await;
    running.fault(json!({"count": 1, "action": {"trickle": {"pause": "100ms"}}})).await;
    let timed_out = running
        .request(Method::GET, VERSIONS)
        .timeout(Duration::from_millis(200))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap_err();
    assert!(timed_out.is_timeout());
    running.fault(json!({"count": 1, "action": {"trickle": {"pause": "1ms"}}})).await;
    assert_eq!(running.get(VERSIONS).await.1["pagination"]["count"], 0);
}

#[tokio::test]
async fn a_body_is_larger_than_any_client_should_read() {
    let running = start().await;
    let size = 3 * 1024 * 1024;
    running.fault(json!({"count": 1, "action": {"oversize": {"bytes": size}}})).await;
    let response = running.request(Method::GET, VERSIONS).send().await.unwrap();
    assert!(response.bytes().await.unwrap().len() > size);
}

#[tokio::test]
async fn a_body_is_a_gzip_bomb() {
    let running = start().await;
    let size = 3 * 1024 * 1024;
    running.fault(json!({"count": 1, "action": {"oversize": {"bytes": size, "gzip": true}}})).await;
    let response = running.request(Method::GET, VERSIONS).send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let packed = response.bytes().await.unwrap();
    assert!(packed.len() < size / 100, "{}", packed.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked.len() > size);
    assert_eq!(serde_json::from_slice::<Value>(&unpacked).unwrap()["pagination"]["count"], 0);
}

#[tokio::test]
async fn faults_are_listed_and_cleared() {
    let running = start().await;
    let first = running.fault(json!({"after": 1, "action": {"status": {"code": 500}}})).await;
    let second = running.fault(json!({"action": {"list_lag": {"duration": "1h"}}})).await;
    assert_eq!((running.get(VERSIONS).await.0, running.get(VERSIONS).await.0), (200, 500));
    let (_, list) = running.get("/_control/faults").await;
    assert_eq!((&list[0]["id"], &list[0]["matched"], &list[0]["applied"]), (&json!(first), &json!(2), &json!(1)));
    assert_eq!(list[1]["action"], json!({"list_lag": {"duration": "1h"}}));
    assert_eq!(running.delete(&format!("/_control/faults/{first}")).await.0, 204);
    assert_eq!(running.delete(&format!("/_control/faults/{first}")).await.0, 404);
    assert_eq!(running.get(VERSIONS).await.0, 200);
    assert_eq!(running.get("/_control/faults").await.1[0]["id"], second);
    assert_eq!(running.delete("/_control/faults").await.0, 204);
    assert_eq!(running.get("/_control/faults").await.1, json!([]));
}

#[tokio::test]
async fn mistakes_in_faults_are_named() {
    let running = start().await;
    for (fault, named) in [
        (json!({"action": {"explode": {}}}), "explode"),
        (json!({"match": {"secret": "1"}, "action": {"page_shift": "insert"}}), "secret"),
        (json!({"action": {"delay": {"at": "after_commit", "duration": "soon"}}}), "soon"),
        (json!({"action": {"status": {"code": 1000}}}), "1000"),
        (json!({"count": 1}), "action"),
    ] {
        let (status, body) = running.post("/_control/faults", fault).await;
        assert_eq!(status, 400);
        assert!(body["error"].as_str().unwrap().contains(named), "{body}");
    }
}

#[tokio::test]
async fn a_fault_can_be_for_one_secret_or_in_the_seed() {
    let seed = crate::support::SEED.replace(
        "  - {id: \"3053595942757\", name: db-password}\n",
        "  - {id: \"3053595942757\", name: db-password}\n  - {id: other, name: other}\n",
    ) + "faults: [{match: {secret_id: other}, action: {status: {code: 403}}}]\n";
    let running = start_with(&seed).await;
    assert_eq!(running.get(VERSIONS).await.0, 200);
    let other = format!("/secret-manager/organizations/{ORGANIZATION}/secrets/other/versions");
    assert_eq!(running.get(&other).await.0, 403);
    // Faults come before credentials: a broken proxy asks for none.
    assert_eq!(answer(running.client.get(running.url(&other))).await.0, 403);
}
