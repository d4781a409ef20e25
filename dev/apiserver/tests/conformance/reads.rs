//! Lists: selectors, versions, pages.

use serde_json::json;

use crate::harness::{CONNECTIONS, SECRETS, Server, cases, connection, secret};

cases! {
    a_list_is_in_order_and_names_its_version,
    selectors_select,
    pages_are_of_one_snapshot,
    versions_of_lists,
}

async fn a_list_is_in_order_and_names_its_version(server: &mut Server) {
    let empty = server.get(CONNECTIONS).await.ok();
    assert_eq!(empty.body["items"], json!([]));
    for name in ["b", "a-b", "a"] {
        server.post(SECRETS, secret(name)).await.ok();
        server.post(CONNECTIONS, connection(name)).await.ok();
    }
    server.get(SECRETS).await.ok();
    server.get(CONNECTIONS).await.ok();
}

async fn selectors_select(server: &mut Server) {
    for (name, labels) in [("a", json!({"x": "1"})), ("b", json!({"x": "2", "y": "1"})), ("c", json!({}))] {
        let mut body = secret(name);
        body["metadata"]["labels"] = labels;
        server.post(SECRETS, body).await.ok();
    }
    for selector in ["x=1", "x==2,y", "x!=1", "!x", "x+in+(1,2),y=1", "x+notin+(1)", "x"] {
        let selector = selector.replace('=', "%3D");
        server.metas(&format!("{SECRETS}?labelSelector={selector}")).await.ok();
    }
    server.metas(&format!("{SECRETS}?labelSelector=x+near+1")).await.is(400, "BadRequest");
    for selector in ["metadata.name=b", "metadata.name!=b", "type=Opaque", "type=other"] {
        let selector = selector.replace('=', "%3D");
        server.metas(&format!("{SECRETS}?fieldSelector={selector}")).await.ok();
    }
    server.metas(&format!("{SECRETS}?fieldSelector=data.key%3Da")).await.is(400, "BadRequest");
}

async fn pages_are_of_one_snapshot(server: &mut Server) {
    for name in ["a", "b", "c", "d"] {
        server.post(CONNECTIONS, connection(name)).await.ok();
    }
    let first = server.metas(&format!("{CONNECTIONS}?limit=2")).await.ok();
    server.delete(&format!("{CONNECTIONS}/c"), json!(null)).await.ok();
    server.post(CONNECTIONS, connection("bb")).await.ok();
    let token = first.body["metadata"]["continue"].as_str().expect("more").to_owned();
    // A token is noted where it is sent, so it is not noted here.
    let second = server.page(CONNECTIONS, &token).await.ok();
    let names: Vec<_> = second.body["items"].as_array().into_iter().flatten().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!(second.body["metadata"]["resourceVersion"], first.body["metadata"]["resourceVersion"]);
    server.metas(&format!("{CONNECTIONS}?limit=9")).await.ok();
    server.metas(&format!("{CONNECTIONS}?limit=1&resourceVersion=0")).await;
}

async fn versions_of_lists(server: &mut Server) {
    let first = server.post(CONNECTIONS, connection("a")).await.ok().version();
    server.post(CONNECTIONS, connection("b")).await.ok();
    server.metas(&format!("{CONNECTIONS}?resourceVersion={first}&resourceVersionMatch=Exact")).await.ok();
    server.metas(&format!("{CONNECTIONS}?resourceVersion={first}&resourceVersionMatch=NotOlderThan")).await.ok();
    server.metas(&format!("{CONNECTIONS}?resourceVersionMatch=Exact")).await.is(422, "Invalid");
    server.metas(&format!("{CONNECTIONS}?resourceVersion=many")).await;
}
