//! Finalizers, marks, preconditions.

use serde_json::json;

use crate::harness::{CONNECTIONS, SECRETS, Server, cases, connection, secret};

cases! {
    what_no_finalizer_holds_is_gone_at_once,
    what_a_finalizer_holds_is_marked_and_goes_with_the_last,
    no_finalizer_is_added_to_what_is_being_deleted,
    a_broken_precondition_is_a_conflict,
    a_policy_is_a_finalizer,
}

async fn what_no_finalizer_holds_is_gone_at_once(server: &mut Server) {
    for (path, body) in [(SECRETS, secret("a")), (CONNECTIONS, connection("a"))] {
        server.post(path, body).await.ok();
        let gone = server.delete(&format!("{path}/a"), json!(null)).await.ok();
        assert_eq!(gone.body["kind"], "Status");
        server.get(&format!("{path}/a")).await.is(404, "NotFound");
    }
}

async fn what_a_finalizer_holds_is_marked_and_goes_with_the_last(server: &mut Server) {
    for (path, mut body) in [(SECRETS, secret("a")), (CONNECTIONS, connection("a"))] {
        let at = format!("{path}/a");
        body["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
        server.post(path, body).await.ok();
        let marked = server.delete(&at, json!(null)).await.ok();
        assert!(marked.body["metadata"]["deletionTimestamp"].is_string());
        let again = server.delete(&at, json!(null)).await.ok();
        assert_eq!(again.version(), marked.version());
        // A mark is not taken off.
        server.merge(&at, json!({"metadata": {"deletionTimestamp": null}})).await.ok();
        server.merge(&at, json!({"metadata": {"labels": {"a": "1"}}})).await.ok();
        server.merge(&at, json!({"metadata": {"finalizers": ["example.com/b"]}})).await.ok();
        server.merge(&at, json!({"metadata": {"finalizers": null}})).await.ok();
        server.get(&at).await.is(404, "NotFound");
    }
}

async fn no_finalizer_is_added_to_what_is_being_deleted(server: &mut Server) {
    let at = format!("{CONNECTIONS}/a");
    let mut body = connection("a");
    body["metadata"]["finalizers"] = json!(["example.com/a"]);
    server.post(CONNECTIONS, body).await.ok();
    server.delete(&at, json!(null)).await.ok();
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    server.merge(&at, more).await.is(422, "Invalid");
    server.merge(&at, json!({"metadata": {"finalizers": []}})).await.ok();
}

async fn a_broken_precondition_is_a_conflict(server: &mut Server) {
    for (path, body) in [(SECRETS, secret("a")), (CONNECTIONS, connection("a"))] {
        let at = format!("{path}/a");
        let first = server.post(path, body).await.ok();
        server.delete(&at, json!({"preconditions": {"uid": "other"}})).await.is(409, "Conflict");
        server.merge(&at, json!({"metadata": {"labels": {"a": "1"}}})).await.ok();
        let stale = json!({"preconditions": {"uid": first.uid(), "resourceVersion": first.version()}});
        server.delete(&at, stale).await.is(409, "Conflict");
        server.delete(&at, json!({"preconditions": {"uid": first.uid()}})).await.ok();
    }
}

async fn a_policy_is_a_finalizer(server: &mut Server) {
    // Of an owner of nothing, so that no controller takes it off before it is seen.
    for (name, policy) in [("a", "Foreground"), ("b", "Orphan")] {
        let mut body = secret(name);
        body["metadata"]["finalizers"] = json!(["example.com/a"]);
        server.post(SECRETS, body).await.ok();
        let marked = server.delete(&format!("{SECRETS}/{name}"), json!({"propagationPolicy": policy})).await.ok();
        assert_eq!(marked.body["metadata"]["finalizers"].as_array().map(Vec::len), Some(2));
    }
}
