//! Creates, replacements, merge patches and JSON patches: what is written, and what is refused.

use serde_json::json;

use crate::harness::{CONNECTIONS, Kind, SECRETS, Server, cases, connection, secret};

cases! {
    a_create_answers_what_is_stored,
    a_name_is_made_where_a_prefix_is_given,
    what_exists_is_not_created_again,
    a_create_that_names_a_version_is_refused,
    an_object_of_another_kind_name_or_namespace_is_refused,
    a_stale_replacement_is_a_conflict,
    a_replacement_of_another_uid_is_a_conflict,
    a_stale_patch_is_a_conflict_and_a_foreign_uid_is_invalid,
    a_write_that_changes_nothing_writes_nothing,
    a_merge_patch_removes_by_null,
    a_json_patch_whose_test_fails_changes_nothing,
    only_changes_of_the_spec_are_a_new_generation,
    what_is_absent_is_not_found,
}

async fn a_create_answers_what_is_stored(server: &mut Server) {
    let created = server.post(SECRETS, secret("a")).await.ok();
    assert_eq!(created.code, 201);
    let read = server.get(&format!("{SECRETS}/a")).await.ok();
    assert_eq!(created.body, read.body);
    server.post(CONNECTIONS, connection("a")).await.ok();
    server.get(&format!("{CONNECTIONS}/a")).await.ok();
    let mut texts = secret("texts");
    texts["stringData"] = json!({"key": "text", "other": "text"});
    server.post(SECRETS, texts).await.ok();
}

async fn a_name_is_made_where_a_prefix_is_given(server: &mut Server) {
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "made-"}});
    let mut names = Vec::new();
    for _ in 0..2 {
        // Not noted: the names differ.
        let made = server.unnoted("POST", SECRETS, &body).await.ok();
        let name = made.body["metadata"]["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("made-") && name.len() == "made-".len() + 5, "{name}");
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
    server.post(SECRETS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}})).await.is(422, "Invalid");
}

async fn what_exists_is_not_created_again(server: &mut Server) {
    server.post(SECRETS, secret("a")).await.ok();
    server.post(SECRETS, secret("a")).await.is(409, "AlreadyExists");
    server.post(CONNECTIONS, connection("a")).await.ok();
    server.post(CONNECTIONS, connection("a")).await.is(409, "AlreadyExists");
}

async fn a_create_that_names_a_version_is_refused(server: &mut Server) {
    let mut body = secret("a");
    body["metadata"]["resourceVersion"] = "1".into();
    server.post(SECRETS, body).await.is(500, "");
}

async fn an_object_of_another_kind_name_or_namespace_is_refused(server: &mut Server) {
    let mut other = connection("a");
    other["kind"] = "Other".into();
    server.post(CONNECTIONS, other).await.is(422, "Invalid");
    let mut elsewhere = connection("a");
    elsewhere["metadata"]["namespace"] = "elsewhere".into();
    server.post(CONNECTIONS, elsewhere).await.is(400, "BadRequest");
    server.post(SECRETS, secret("a")).await.ok();
    server.put(&format!("{SECRETS}/a"), secret("b")).await.is(400, "BadRequest");
    server.merge(&format!("{SECRETS}/a"), json!({"metadata": {"name": "b"}})).await.is(400, "BadRequest");
    server.merge(&format!("{SECRETS}/a"), json!({"metadata": {"namespace": "b"}})).await.is(400, "BadRequest");
}

async fn a_stale_replacement_is_a_conflict(server: &mut Server) {
    let path = format!("{CONNECTIONS}/a");
    let first = server.post(CONNECTIONS, connection("a")).await.ok();
    let mut next = first.body.clone();
    next["metadata"]["labels"] = json!({"a": "1"});
    server.put(&path, next.clone()).await.ok();
    next["metadata"]["labels"] = json!({"a": "2"});
    server.put(&path, next.clone()).await.is(409, "Conflict");
    next["metadata"].as_object_mut().expect("a map").remove("resourceVersion");
    server.put(&path, next).await.is(422, "Invalid");
    // Secrets may be replaced whatever they are.
    server.post(SECRETS, secret("a")).await.ok();
    server.put(&format!("{SECRETS}/a"), secret("a")).await.ok();
}

async fn a_replacement_of_another_uid_is_a_conflict(server: &mut Server) {
    server.post(SECRETS, secret("a")).await.ok();
    let mut other = secret("a");
    other["metadata"]["uid"] = "other".into();
    server.put(&format!("{SECRETS}/a"), other).await.is(409, "Conflict");
}

async fn a_stale_patch_is_a_conflict_and_a_foreign_uid_is_invalid(server: &mut Server) {
    let path = format!("{CONNECTIONS}/a");
    let first = server.post(CONNECTIONS, connection("a")).await.ok();
    let change = |version: &str, uid: &str, value: &str| json!({"metadata": {"resourceVersion": version, "uid": uid, "labels": {"a": value}}});
    server.merge(&path, change(&first.version(), &first.uid(), "1")).await.ok();
    server.merge(&path, change(&first.version(), &first.uid(), "2")).await.is(409, "Conflict");
    server.merge(&path, change(&first.version(), "other", "2")).await.is(409, "Conflict");
    server.merge(&path, json!({"metadata": {"uid": "other"}})).await.is(422, "Invalid");
    server.merge(&path, json!({"metadata": {"resourceVersion": null}})).await.is(422, "Invalid");
    server.get(&path).await.ok();
}

async fn a_write_that_changes_nothing_writes_nothing(server: &mut Server) {
    let path = format!("{CONNECTIONS}/a");
    let created = server.post(CONNECTIONS, connection("a")).await.ok();
    // Reading sets defaults of the status that a create does not store; the next write stores them.
    let first = server.put(&path, created.body.clone()).await.ok();
    assert_ne!(first.version(), created.version());
    let again = server.put(&path, first.body.clone()).await.ok();
    assert_eq!(first.version(), again.version());
    let again = server.merge(&path, json!({"spec": {"organizationId": "1"}})).await.ok();
    assert_eq!(first.version(), again.version());
    let again = server.merge(&path, json!({})).await.ok();
    assert_eq!(first.version(), again.version());
}

async fn a_merge_patch_removes_by_null(server: &mut Server) {
    let path = format!("{SECRETS}/a");
    server.post(SECRETS, secret("a")).await.ok();
    server.merge(&path, json!({"data": {"other": "YQ=="}, "metadata": {"labels": {"a": "1"}}})).await.ok();
    let left = server.merge(&path, json!({"data": {"key": null}, "metadata": {"labels": {"a": null}}})).await.ok();
    assert_eq!(left.body["data"], json!({"other": "YQ=="}));
    server.merge(&path, json!({"data": {"other": null}})).await.ok();
    server.merge(&path, json!({"data": null, "immutable": true})).await.ok();
}

async fn a_json_patch_whose_test_fails_changes_nothing(server: &mut Server) {
    let path = format!("{SECRETS}/a");
    server.post(SECRETS, secret("a")).await.ok();
    let failing = json!([
        {"op": "add", "path": "/metadata/labels", "value": {"a": "1"}},
        {"op": "test", "path": "/metadata/name", "value": "b"},
    ]);
    server.patch(Kind::Json, &path, failing).await.is(422, "Invalid");
    let holding = json!([
        {"op": "test", "path": "/metadata/name", "value": "a"},
        {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]},
        {"op": "replace", "path": "/data/key", "value": "YQ=="},
    ]);
    server.patch(Kind::Json, &path, holding).await.ok();
    let absent = json!([{"op": "remove", "path": "/metadata/annotations/a"}]);
    server.patch(Kind::Json, &path, absent).await.is(422, "Invalid");
    let appended = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"}]);
    server.patch(Kind::Json, &path, appended).await.ok();
    server.get(&path).await.ok();
}

async fn only_changes_of_the_spec_are_a_new_generation(server: &mut Server) {
    let path = format!("{CONNECTIONS}/a");
    server.post(CONNECTIONS, connection("a")).await.ok();
    let labelled = server.merge(&path, json!({"metadata": {"labels": {"a": "1"}}})).await.ok();
    assert_eq!(labelled.body["metadata"]["generation"], 1);
    let changed = server.merge(&path, json!({"spec": {"timeoutSeconds": 20}})).await.ok();
    assert_eq!(changed.body["metadata"]["generation"], 2);
    let claimed = server.merge(&path, json!({"metadata": {"generation": 9}})).await.ok();
    assert_eq!(claimed.body["metadata"]["generation"], 2);
    server.post(SECRETS, secret("a")).await.ok();
    server.merge(&format!("{SECRETS}/a"), json!({"data": {"key": "YQ=="}})).await.ok();
}

async fn what_is_absent_is_not_found(server: &mut Server) {
    for path in [SECRETS, CONNECTIONS] {
        let path = format!("{path}/absent");
        server.get(&path).await.is(404, "NotFound");
        server.merge(&path, json!({"metadata": {"labels": {"a": "1"}}})).await.is(404, "NotFound");
        server.delete(&path, json!(null)).await.is(404, "NotFound");
    }
    server.put(&format!("{SECRETS}/absent"), secret("absent")).await.is(404, "NotFound");
    server.get("/apis/secrets.abeja.io/v1alpha1/others").await;
    server.post("/api/v1/namespaces/absent-namespace/secrets", secret("a")).await.is(404, "NotFound");
}
