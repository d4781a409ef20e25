//! What controllers do: of a real server they run by themselves, of the fake a test runs them.

use serde_json::{Value, json};

use crate::harness::{SECRETS, Server, cases, secret};

cases! {
    what_has_no_owner_left_is_collected,
    what_still_has_an_owner_stays,
    an_owner_of_the_same_name_is_not_the_owner,
    an_owner_deleted_in_the_foreground_goes_last,
    an_owner_deleted_as_orphaning_frees_its_dependents,
    a_namespace_goes_with_all_that_is_in_it,
    a_namespace_waits_for_finalizers,
}

fn owner(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "name": name, "uid": uid})
}

async fn make(server: &mut Server, name: &str, owners: &[Value], finalizers: &[&str]) -> String {
    let mut body = secret(name);
    body["metadata"]["ownerReferences"] = owners.to_vec().into();
    body["metadata"]["finalizers"] = json!(finalizers);
    server.unnoted("POST", SECRETS, &body).await.ok().uid()
}

async fn what_has_no_owner_left_is_collected(server: &mut Server) {
    let uid = make(server, "owner", &[], &[]).await;
    make(server, "dependent", &[owner("owner", &uid)], &[]).await;
    make(server, "free", &[], &[]).await;
    server.delete(&format!("{SECRETS}/owner"), json!(null)).await.ok();
    server.settled(&format!("{SECRETS}/dependent")).await;
    assert_eq!(server.get(&format!("{SECRETS}/free")).await.code, 200);
}

async fn what_still_has_an_owner_stays(server: &mut Server) {
    let one = make(server, "one", &[], &[]).await;
    let other = make(server, "other", &[], &[]).await;
    make(server, "shared", &[owner("one", &one), owner("other", &other)], &[]).await;
    make(server, "witness", &[owner("one", &one)], &[]).await;
    server.delete(&format!("{SECRETS}/one"), json!(null)).await.ok();
    server.settled(&format!("{SECRETS}/witness")).await;
    assert_eq!(server.unnoted("GET", &format!("{SECRETS}/shared"), &Value::Null).await.code, 200);
    server.delete(&format!("{SECRETS}/other"), json!(null)).await.ok();
    server.settled(&format!("{SECRETS}/shared")).await;
}

async fn an_owner_of_the_same_name_is_not_the_owner(server: &mut Server) {
    make(server, "owner", &[], &[]).await;
    make(server, "dependent", &[owner("owner", "of-another-life")], &[]).await;
    server.settled(&format!("{SECRETS}/dependent")).await;
    assert_eq!(server.get(&format!("{SECRETS}/owner")).await.code, 200);
}

async fn an_owner_deleted_in_the_foreground_goes_last(server: &mut Server) {
    let uid = make(server, "owner", &[], &[]).await;
    let mut blocking = owner("owner", &uid);
    blocking["blockOwnerDeletion"] = true.into();
    make(server, "dependent", &[blocking], &["example.com/a"]).await;
    let options = json!({"propagationPolicy": "Foreground"});
    server.delete(&format!("{SECRETS}/owner"), options).await.ok();
    server.marked(&format!("{SECRETS}/dependent")).await;
    let waiting = server.unnoted("GET", &format!("{SECRETS}/owner"), &Value::Null).await.ok();
    assert_eq!(waiting.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    server.unnoted("PATCH", &format!("{SECRETS}/dependent"), &json!({"metadata": {"finalizers": null}})).await.ok();
    server.settled(&format!("{SECRETS}/owner")).await;
}

async fn an_owner_deleted_as_orphaning_frees_its_dependents(server: &mut Server) {
    let uid = make(server, "owner", &[], &[]).await;
    make(server, "dependent", &[owner("owner", &uid)], &[]).await;
    server.delete(&format!("{SECRETS}/owner"), json!({"propagationPolicy": "Orphan"})).await.ok();
    server.settled(&format!("{SECRETS}/owner")).await;
    let freed = server.unnoted("GET", &format!("{SECRETS}/dependent"), &Value::Null).await.ok();
    assert_eq!(freed.body["metadata"].get("ownerReferences"), None);
}

async fn a_namespace_goes_with_all_that_is_in_it(server: &mut Server) {
    make(server, "a", &[], &[]).await;
    server.unnoted("DELETE", "/api/v1/namespaces/{ns}", &json!({})).await.ok();
    server.settled("/api/v1/namespaces/{ns}").await;
    server.get(&format!("{SECRETS}/a")).await.is(404, "NotFound");
    server.post(SECRETS, secret("late")).await.is(404, "NotFound");
}

async fn a_namespace_waits_for_finalizers(server: &mut Server) {
    make(server, "held", &[], &["example.com/a"]).await;
    make(server, "a", &[], &[]).await;
    server.unnoted("DELETE", "/api/v1/namespaces/{ns}", &json!({})).await.ok();
    server.marked(&format!("{SECRETS}/held")).await;
    server.settled(&format!("{SECRETS}/a")).await;
    assert_eq!(server.unnoted("GET", "/api/v1/namespaces/{ns}", &Value::Null).await.code, 200);
    server.unnoted("PATCH", &format!("{SECRETS}/held"), &json!({"metadata": {"finalizers": null}})).await.ok();
    server.settled("/api/v1/namespaces/{ns}").await;
}
