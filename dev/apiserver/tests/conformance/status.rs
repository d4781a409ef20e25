//! The status subresource: each half of an object is written by itself.

use serde_json::json;

use crate::harness::{CONNECTIONS, Server, cases, connection};

cases! {
    a_create_ignores_status,
    a_write_of_status_changes_nothing_else,
    a_write_of_the_rest_leaves_status,
    a_stale_write_of_status_is_a_conflict,
    a_status_can_be_replaced,
}

async fn a_create_ignores_status(server: &mut Server) {
    let mut body = connection("a");
    body["status"] = json!({"observedGeneration": 3});
    let created = server.post(CONNECTIONS, body).await.ok();
    assert_ne!(created.body["status"]["observedGeneration"], 3);
}

async fn a_write_of_status_changes_nothing_else(server: &mut Server) {
    server.post(CONNECTIONS, connection("a")).await.ok();
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Ready", "message": "it is",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let change = json!({
        "metadata": {"labels": {"a": "1"}, "finalizers": ["example.com/a"]},
        "spec": {"timeoutSeconds": 20},
        "status": {"observedGeneration": 1, "conditions": [condition]},
    });
    let path = format!("{CONNECTIONS}/a/status");
    let changed = server.merge(&path, change).await.ok();
    assert_eq!(changed.body["status"]["observedGeneration"], 1);
    assert_eq!(changed.body["metadata"].get("labels"), None);
    assert_eq!(changed.body["spec"].get("timeoutSeconds"), None);
    let again = server.merge(&path, json!({"metadata": {"labels": {"a": "1"}}})).await.ok();
    assert_eq!(again.version(), changed.version());
    // Not even a UID is looked at: what guards is the version.
    server.merge(&path, json!({"metadata": {"uid": "other"}, "status": {"observedGeneration": 2}})).await.ok();
}

async fn a_write_of_the_rest_leaves_status(server: &mut Server) {
    server.post(CONNECTIONS, connection("a")).await.ok();
    server.merge(&format!("{CONNECTIONS}/a/status"), json!({"status": {"observedGeneration": 1}})).await.ok();
    let change = json!({"spec": {"timeoutSeconds": 20}, "status": {"observedGeneration": 2}});
    let changed = server.merge(&format!("{CONNECTIONS}/a"), change).await.ok();
    assert_eq!(changed.body["status"]["observedGeneration"], 1);
    let mut without = changed.body.clone();
    without.as_object_mut().expect("a map").remove("status");
    let replaced = server.put(&format!("{CONNECTIONS}/a"), without).await.ok();
    assert_eq!(replaced.version(), changed.version());
}

async fn a_stale_write_of_status_is_a_conflict(server: &mut Server) {
    let first = server.post(CONNECTIONS, connection("a")).await.ok();
    let path = format!("{CONNECTIONS}/a/status");
    let change = |value: i64| {
        let guard = json!({"resourceVersion": first.version(), "uid": first.uid()});
        json!({"metadata": guard, "status": {"observedGeneration": value}})
    };
    server.merge(&path, change(1)).await.ok();
    server.merge(&path, change(2)).await.is(409, "Conflict");
    server.merge(&format!("{CONNECTIONS}/absent/status"), change(1)).await.is(404, "NotFound");
}

async fn a_status_can_be_replaced(server: &mut Server) {
    let first = server.post(CONNECTIONS, connection("a")).await.ok();
    let path = format!("{CONNECTIONS}/a/status");
    let mut body = first.body.clone();
    body["status"] = json!({"observedGeneration": 1, "lastHandledReconcileAt": "now"});
    body["spec"]["timeoutSeconds"] = 20.into();
    server.put(&path, body.clone()).await.ok();
    server.put(&path, body).await.is(409, "Conflict");
    server.get(&path).await.ok();
}
