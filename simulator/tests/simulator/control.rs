//! `/_control`: seed, state, journal, edits and credentials.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ORGANIZATION, SECRET, VERSIONS, answer, client, start};

#[tokio::test]
async fn the_state_shows_values_and_no_tokens() {
    let running = start().await;
    running.create("AP8K").await;
    let response = running.client.get(running.url("/_control/state")).send().await.unwrap();
    let text = response.text().await.unwrap();
    for token in ["t-all", "t-user", "t-datasource"] {
        assert!(!text.contains(token), "{token}");
    }
    let state: Value = serde_json::from_str(&text).unwrap();
    let secret = &state["organizations"][0]["secrets"][0];
    assert_eq!((&secret["versions"][0]["value"], &secret["next_version"]), (&json!("AP8K"), &json!(2)));
    assert_eq!(state["credentials"][0], "all");
    assert_eq!(running.get("/_control/healthz").await.0, 200);
}

#[tokio::test]
async fn a_seed_replaces_everything_but_the_journal() {
    let running = start().await;
    running.create("YQ==").await;
    running.fault(json!({"action": {"malformed": "empty_body"}})).await;
    let put = |seed: &'static str| running.request(Method::PUT, "/_control/seed").body(seed);

    let (status, refused) = answer(put("organizations: [{id: a, colour: red}]")).await;
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("colour"), "{refused}");
    assert_eq!(running.values().await.len(), 1, "a refused seed changes nothing");

    let seed = "{organizations: [{id: o, secrets: [{id: s, name: n, versions: [{value: x}]}]}],
                 credentials: [{name: new, kind: bearer, token: t-new}]}";
    assert_eq!(answer(put(seed)).await.0, 204);
    assert_eq!(running.values().await, ["eA=="]);
    assert_eq!(running.get("/_control/faults").await.1, json!([]));
    assert_eq!(running.get("/secret-manager/organizations/o/secrets").await.0, 401);
    let (status, list) =
        answer(running.client.get(running.url("/secret-manager/organizations/o/secrets")).bearer_auth("t-new")).await;
    assert_eq!((status, &list["secrets"][0]["id"]), (200, &json!("s")));
    assert_eq!(running.journal().await.len(), 3);
}

#[tokio::test]
async fn the_journal_tells_each_request_and_no_secret() {
    let running = start().await;
    let id = running.create("Y2FuYXJ5").await;
    running.patch(&format!("{VERSIONS}/{id}?a=b"), json!({"status": "inactive"})).await;
    running.get("/nowhere").await;
    let entries = running.journal().await;
    assert_eq!(entries.len(), 3, "control requests are not in it");

    let created = &entries[0];
    for (member, expected) in [
        ("seq", json!(1)),
        ("connection", json!(1)),
        ("method", json!("POST")),
        ("path", json!(VERSIONS)),
        ("query", json!("")),
        ("operation", json!("create_version")),
        ("organization_id", json!(ORGANIZATION)),
        ("secret_id", json!(SECRET)),
        ("version_id", json!(id)),
        ("credential", json!("all")),
        ("body_length", json!(r#"{"value":"Y2FuYXJ5"}"#.len())),
        ("faults", json!([])),
        ("finished", json!(true)),
        ("status", json!(200)),
        ("committed", json!(true)),
    ] {
        assert_eq!(created[member], expected, "{member}");
    }
    assert_eq!(created["headers"]["content-type"], "application/json");
    assert_eq!(created["body_sha256"].as_str().unwrap().len(), 64);
    assert!(created.get("raw").is_none());
    assert_eq!((&entries[1]["query"], &entries[1]["committed"]), (&json!("a=b"), &json!(true)));
    assert_eq!((&entries[2]["operation"], &entries[2]["status"]), (&Value::Null, &json!(404)));
    let text = json!(entries).to_string();
    assert!(!text.contains("Y2FuYXJ5") && !text.contains("t-all"), "{text}");

    let (_, page) = running.get("/_control/journal?since=2").await;
    assert_eq!((&page["last_seq"], page["entries"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(running.delete("/_control/journal").await.0, 204);
    assert!(running.journal().await.is_empty());
    running.get(VERSIONS).await;
    assert_eq!(running.journal().await[0]["seq"], 4);
}

#[tokio::test]
async fn the_journal_tells_connections_apart() {
    let running = start().await;
    running.get(VERSIONS).await;
    running.get(VERSIONS).await;
    answer(client().get(running.url(VERSIONS)).bearer_auth("t-all")).await;
    let connections: Vec<_> =
        running.journal().await.iter().map(|entry| entry["connection"].as_u64().unwrap()).collect();
    assert_eq!(connections[0], connections[1], "kept alive");
    assert_eq!(connections.iter().collect::<HashSet<_>>().len(), 2);
}

#[tokio::test]
async fn edits_change_the_state_behind_the_clients_back() {
    let running = start().await;
    let edit = |edit: Value| running.post("/_control/versions", edit);
    let place = |more: Value| {
        let mut edit = json!({"organization_id": ORGANIZATION, "secret_id": SECRET});
        edit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        edit
    };
    let (status, text) = edit(json!({"create": place(json!({"value": "text"}))})).await;
    assert_eq!((status, &text["version"]), (201, &json!(1)));
    edit(json!({"create": place(json!({"value_base64": "AP8K"}))})).await;
    assert_eq!(running.values().await, ["dGV4dA==", "AP8K"]);
    let id = &text["id"];
    let (_, updated) = edit(json!({"update": place(json!({"version_id": id, "status": "inactive"}))})).await;
    assert_eq!(updated["status"], "inactive");
    assert_eq!(edit(json!({"delete": place(json!({"version_id": id}))})).await.0, 200);
    assert_eq!(running.values().await, ["AP8K"]);
    assert_eq!(edit(json!({"delete": place(json!({"version_id": id}))})).await.0, 404);
    assert_eq!(edit(json!({"create": place(json!({}))})).await.0, 400);

    let secret = json!({"create": {"organization_id": ORGANIZATION, "name": "second"}});
    let (status, second) = running.post("/_control/secrets", secret).await;
    assert_eq!(status, 201);
    let path = format!("/secret-manager/organizations/{ORGANIZATION}/secrets/{}", second["id"].as_str().unwrap());
    assert_eq!(running.get(&path).await.1["name"], "second");
    let gone = json!({"delete": {"organization_id": ORGANIZATION, "secret_id": second["id"]}});
    assert_eq!(running.post("/_control/secrets", gone).await.0, 204);
    assert_eq!(running.get(&path).await.0, 404);
    let paths: HashSet<_> =
        running.journal().await.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, HashSet::from([path]), "only what clients asked for");
}

#[tokio::test]
async fn credentials_come_and_go() {
    let running = start().await;
    let get = |token: &'static str| answer(running.client.get(running.url(VERSIONS)).bearer_auth(token));
    assert_eq!(get("t-late").await.0, 401);
    let late = json!({"name": "late", "kind": "bearer", "token": "t-late"});
    assert_eq!(running.post("/_control/credentials", late).await.0, 201);
    assert_eq!(get("t-late").await.0, 200);
    let rotated = json!({"name": "late", "kind": "bearer", "token": "t-later"});
    running.post("/_control/credentials", rotated).await;
    assert_eq!((get("t-late").await.0, get("t-later").await.0), (401, 200));
    assert_eq!(running.delete("/_control/credentials/late").await.0, 204);
    assert_eq!(running.delete("/_control/credentials/late").await.0, 404);
    assert_eq!(get("t-later").await.0, 401);
    let (_, names) = running.get("/_control/credentials").await;
    assert!(!names.as_array().unwrap().contains(&json!("late")));
    let wrong = json!({"name": "wrong", "kind": "user", "token": "t"});
    assert_eq!(running.post("/_control/credentials", wrong).await.0, 400);
}
