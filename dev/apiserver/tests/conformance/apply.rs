//! Server-side apply, and who owns what.

use serde_json::{Value, json};

use crate::harness::{CONNECTIONS, Kind, SECRETS, Server, cases, connection, secret};

cases! {
    an_apply_creates_what_is_absent,
    an_apply_that_names_a_uid_creates_nothing,
    an_apply_needs_a_manager,
    a_field_of_another_manager_is_a_conflict_unless_forced,
    several_conflicts_are_all_named,
    what_is_no_longer_applied_goes,
    the_same_value_is_owned_by_both,
    an_apply_that_changes_nothing_writes_nothing,
    a_changed_field_changes_its_owner,
    items_of_lists_are_owned_one_by_one,
    custom_resources_are_applied,
    a_stale_apply_is_a_conflict,
}

fn apply_path(path: &str, manager: &str) -> String {
    format!("{path}/a?fieldManager={manager}")
}

fn data(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data})
}

async fn an_apply_creates_what_is_absent(server: &mut Server) {
    let created = server.patch(Kind::Apply, &apply_path(SECRETS, "one"), data(&json!({"a": "YQ=="}))).await.ok();
    assert_eq!(created.code, 201);
    server.get(&format!("{SECRETS}/a")).await.ok();
}

async fn an_apply_that_names_a_uid_creates_nothing(server: &mut Server) {
    let mut body = data(&json!({"a": "YQ=="}));
    body["metadata"]["uid"] = "other".into();
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body.clone()).await.is(409, "Conflict");
    server.post(SECRETS, secret("a")).await.ok();
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body).await.is(422, "Invalid");
}

async fn an_apply_needs_a_manager(server: &mut Server) {
    let path = format!("{SECRETS}/a");
    server.patch(Kind::Apply, &path, data(&json!({"a": "YQ=="}))).await.is(422, "Invalid");
    let mut body = data(&json!({}));
    body["metadata"]["name"] = "b".into();
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body).await.is(400, "BadRequest");
}

async fn a_field_of_another_manager_is_a_conflict_unless_forced(server: &mut Server) {
    server.post(&format!("{SECRETS}?fieldManager=user"), secret("a")).await.ok();
    let mine = data(&json!({"key": "YQ=="}));
    let refused = server.patch(Kind::Apply, &apply_path(SECRETS, "one"), mine.clone()).await;
    refused.is(409, "Conflict");
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = format!("{}&force=true", apply_path(SECRETS, "one"));
    server.patch(Kind::Apply, &forced, mine).await.ok();
    let theirs = data(&json!({"key": "Yg=="}));
    server.patch(Kind::Apply, &apply_path(SECRETS, "two"), theirs).await.is(409, "Conflict");
}

async fn several_conflicts_are_all_named(server: &mut Server) {
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), data(&json!({"a": "YQ==", "b": "YQ=="}))).await.ok();
    let path = format!("{SECRETS}/a?fieldManager=user");
    server.merge(&path, json!({"data": {"b": "Yg==", "c": "YQ=="}})).await.ok();
    let all = data(&json!({"a": "Yg==", "b": "YQ==", "c": "Yg=="}));
    server.patch(Kind::Apply, &apply_path(SECRETS, "two"), all.clone()).await.is(409, "Conflict");
    server.patch(Kind::Apply, &format!("{}&force=true", apply_path(SECRETS, "two")), all).await.ok();
}

async fn what_is_no_longer_applied_goes(server: &mut Server) {
    server.post(&format!("{SECRETS}?fieldManager=user"), secret("a")).await.ok();
    let mut more = data(&json!({"a": "YQ==", "b": "YQ=="}));
    more["metadata"]["labels"] = json!({"x": "1"});
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), more).await.ok();
    server.patch(Kind::Apply, &apply_path(SECRETS, "two"), data(&json!({"b": "YQ=="}))).await.ok();
    let less = server.patch(Kind::Apply, &apply_path(SECRETS, "one"), data(&json!({}))).await.ok();
    assert_eq!(less.body["data"], json!({"b": "YQ==", "key": "dmFsdWU="}));
}

async fn the_same_value_is_owned_by_both(server: &mut Server) {
    server.post(&format!("{SECRETS}?fieldManager=user"), secret("a")).await.ok();
    let same = data(&json!({"key": "dmFsdWU="}));
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), same.clone()).await.ok();
    server.patch(Kind::Apply, &apply_path(SECRETS, "two"), same).await.ok();
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), data(&json!({}))).await.ok();
}

async fn an_apply_that_changes_nothing_writes_nothing(server: &mut Server) {
    let body = data(&json!({"a": "YQ=="}));
    let first = server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body.clone()).await.ok();
    let again = server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body).await.ok();
    assert_eq!(first.version(), again.version());
}

async fn a_changed_field_changes_its_owner(server: &mut Server) {
    server.post(&format!("{SECRETS}?fieldManager=user"), secret("a")).await.ok();
    let path = format!("{SECRETS}/a?fieldManager=other");
    server.merge(&path, json!({"data": {"key": "YQ==", "more": "YQ=="}})).await.ok();
    server.merge(&path, json!({"data": {"more": null}, "metadata": {"annotations": {"x": "1"}}})).await.ok();
    server.merge(&path, json!({"metadata": {"annotations": {"x": null}}})).await.ok();
    let mut whole = server.get(&format!("{SECRETS}/a")).await.ok().body;
    whole["data"] = json!({"whole": "YQ=="});
    server.put(&format!("{SECRETS}/a?fieldManager=third"), whole).await.ok();
}

async fn items_of_lists_are_owned_one_by_one(server: &mut Server) {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Done", "message": "it is",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    server.post(CONNECTIONS, connection("a")).await.ok();
    let finalizers = |all: &[&str]| json!({"metadata": {"finalizers": all}});
    let (one, other) = ("example.com/one", "example.com/other");
    server.merge(&format!("{CONNECTIONS}/a?fieldManager=one"), finalizers(&[one])).await.ok();
    server.merge(&format!("{CONNECTIONS}/a?fieldManager=other"), finalizers(&[one, other])).await.ok();
    server.merge(&format!("{CONNECTIONS}/a?fieldManager=third"), finalizers(&[other])).await.ok();
    let status = format!("{CONNECTIONS}/a/status");
    for (manager, all) in [("one", vec!["A"]), ("other", vec!["A", "B"]), ("third", vec!["B"])] {
        let conditions: Vec<Value> = all.into_iter().map(condition).collect();
        let change = json!({"status": {"conditions": conditions}});
        server.merge(&format!("{status}?fieldManager={manager}"), change).await.ok();
    }
}

async fn custom_resources_are_applied(server: &mut Server) {
    let path = apply_path(CONNECTIONS, "one");
    server.patch(Kind::Apply, &path, connection("a")).await.ok();
    let mut more = connection("a");
    more["spec"]["timeoutSeconds"] = 20.into();
    let changed = server.patch(Kind::Apply, &path, more).await.ok();
    assert_eq!(changed.body["metadata"]["generation"], 2);
    let less = server.patch(Kind::Apply, &path, connection("a")).await.ok();
    assert_eq!(less.body["spec"].get("timeoutSeconds"), None);
    let mut other = connection("a");
    other["spec"]["auth"]["user"]["secretRef"]["name"] = "other".into();
    server.patch(Kind::Apply, &apply_path(CONNECTIONS, "two"), other).await.is(409, "Conflict");
    let status = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "AbejaConnection", "metadata": {"name": "a"},
        "status": {"observedGeneration": 5},
    });
    server.patch(Kind::Apply, &format!("{CONNECTIONS}/a/status?fieldManager=one"), status).await.ok();
}

async fn a_stale_apply_is_a_conflict(server: &mut Server) {
    let first = server.post(SECRETS, secret("a")).await.ok();
    server.merge(&format!("{SECRETS}/a"), json!({"data": {"b": "YQ=="}})).await.ok();
    let mut body = data(&json!({"c": "YQ=="}));
    body["metadata"]["resourceVersion"] = first.version().into();
    server.patch(Kind::Apply, &apply_path(SECRETS, "one"), body).await.is(409, "Conflict");
}
