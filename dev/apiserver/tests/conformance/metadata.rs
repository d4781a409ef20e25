//! Metadata alone, and rules of metadata.

use serde_json::json;

use crate::harness::{CONNECTIONS, SECRETS, Server, cases, connection, secret};

cases! {
    metadata_can_be_read_alone,
    a_wrong_name_is_refused,
    a_wrong_owner_is_refused,
}

async fn metadata_can_be_read_alone(server: &mut Server) {
    server.post(SECRETS, secret("a")).await.ok();
    let read = server.meta(&format!("{SECRETS}/a")).await.ok();
    assert_eq!(read.body.get("data"), None);
    server.post(CONNECTIONS, connection("a")).await.ok();
    let listed = server.metas(CONNECTIONS).await.ok();
    assert_eq!(listed.body["items"][0].get("spec"), None);
    server.metas(SECRETS).await.ok();
    server.meta(&format!("{SECRETS}/absent")).await.is(404, "NotFound");
}

async fn a_wrong_name_is_refused(server: &mut Server) {
    for name in ["A", "a_b", "-a", "a.", "a..b"] {
        server.post(SECRETS, secret(name)).await.is(422, "Invalid");
        server.post(CONNECTIONS, connection(name)).await.is(422, "Invalid");
    }
    server.post(SECRETS, secret("a.b-c.1")).await.ok();
}

async fn a_wrong_owner_is_refused(server: &mut Server) {
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": uid, "controller": true});
    let mut body = secret("a");
    body["metadata"]["ownerReferences"] = json!([owner("1"), owner("2")]);
    // The words quote the reference, in an order of its own.
    server.unnoted("POST", SECRETS, &body).await.is(422, "Invalid");
    body["metadata"]["ownerReferences"] = json!([owner("")]);
    server.unnoted("POST", SECRETS, &body).await.is(422, "Invalid");
}
