//! Watches: order, types, selectors, ends.

use serde_json::json;

use crate::harness::{CONNECTIONS, SECRETS, Server, cases, connection, secret};

cases! {
    a_watch_tells_all_since_a_version_in_order,
    a_watch_of_metadata_tells_metadata,
    a_watch_from_nowhere_begins_with_what_is_there,
    a_selector_turns_changes_into_additions_and_deletions,
    a_watch_ends_at_its_timeout,
}

async fn a_watch_tells_all_since_a_version_in_order(server: &mut Server) {
    let at = format!("{CONNECTIONS}/a");
    let begin = server.post(CONNECTIONS, connection("first")).await.ok().version();
    let mut body = connection("a");
    body["metadata"]["finalizers"] = json!(["example.com/a"]);
    server.post(CONNECTIONS, body).await.ok();
    server.merge(&at, json!({"spec": {"timeoutSeconds": 20}})).await.ok();
    server.merge(&format!("{at}/status"), json!({"status": {"observedGeneration": 2}})).await.ok();
    server.delete(&at, json!(null)).await.ok();
    server.merge(&at, json!({"metadata": {"finalizers": null}})).await.ok();
    server.delete(&format!("{CONNECTIONS}/first"), json!(null)).await.ok();
    let path = format!("{CONNECTIONS}?watch=true&timeoutSeconds=9&resourceVersion={begin}&allowWatchBookmarks=true");
    let events = server.watch(&path, 6).await;
    let types: Vec<_> = events.iter().map(|event| event.body["type"].clone()).collect();
    assert_eq!(types, ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED", "DELETED"]);
}

async fn a_watch_of_metadata_tells_metadata(server: &mut Server) {
    let begin = server.post(SECRETS, secret("first")).await.ok().version();
    server.merge(&format!("{SECRETS}/first"), json!({"data": {"key": "YQ=="}})).await.ok();
    server.delete(&format!("{SECRETS}/first"), json!(null)).await.ok();
    server.watch_metas(&format!("{SECRETS}?watch=true&timeoutSeconds=9&resourceVersion={begin}"), 2).await;
}

async fn a_watch_from_nowhere_begins_with_what_is_there(server: &mut Server) {
    for name in ["b", "a"] {
        server.post(CONNECTIONS, connection(name)).await.ok();
    }
    server.watch(&format!("{CONNECTIONS}?watch=true&timeoutSeconds=9"), 2).await;
}

async fn a_selector_turns_changes_into_additions_and_deletions(server: &mut Server) {
    let at = format!("{SECRETS}/a");
    let begin = server.post(SECRETS, secret("a")).await.ok().version();
    for value in [json!("1"), json!("1"), json!("2"), json!(null), json!("1")] {
        server.merge(&at, json!({"metadata": {"labels": {"x": value}}})).await.ok();
    }
    server.merge(&at, json!({"data": {"key": "YQ=="}})).await.ok();
    server.delete(&at, json!(null)).await.ok();
    let path = format!("{SECRETS}?watch=true&timeoutSeconds=9&resourceVersion={begin}&labelSelector=x%3D1");
    let events = server.watch(&path, 5).await;
    let types: Vec<_> = events.iter().map(|event| event.body["type"].clone()).collect();
    assert_eq!(types, ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]);
}

async fn a_watch_ends_at_its_timeout(server: &mut Server) {
    let begin = server.post(SECRETS, secret("a")).await.ok().version();
    let events = server.watch(&format!("{SECRETS}?watch=true&timeoutSeconds=1&resourceVersion={begin}"), 1).await;
    assert!(events.is_empty());
}
