//! The life of a namespace.

use serde_json::json;

use crate::harness::{SECRETS, Server, cases, secret};

cases! {
    a_namespace_that_is_being_deleted_takes_nothing_new,
}

async fn a_namespace_that_is_being_deleted_takes_nothing_new(server: &mut Server) {
    let mut held = secret("held");
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    server.post(SECRETS, held).await.ok();
    // Who made the namespace differs.
    let ending = server.unnoted("DELETE", "/api/v1/namespaces/{ns}", &json!({})).await.ok();
    assert_eq!(ending.body["status"]["phase"], "Terminating");
    assert_eq!(ending.body["spec"]["finalizers"], json!(["kubernetes"]));
    server.post(SECRETS, secret("late")).await.is(403, "Forbidden");
    // What is there can still be changed.
    server.unnoted("PATCH", &format!("{SECRETS}/held"), &json!({"data": {"key": "YQ=="}})).await.ok();
}
