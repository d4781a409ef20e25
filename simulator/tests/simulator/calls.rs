//! The seven calls, their errors, and who may make them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ORGANIZATION, SECRET, SECRETS, VERSIONS, answer, start, start_with};

#[tokio::test]
async fn a_version_lives_through_all_calls() {
    let running = start().await;
    let (status, created) =
        running.post(&format!("{VERSIONS}?return_secret_value=True"), json!({"value": "AP8K"})).await;
    assert_eq!(status, 200);
    let id = created["id"].as_str().unwrap();
    assert_eq!(id.len(), 13);
    assert_eq!(created["created_at"].as_str().unwrap().len(), "2025-05-01T18:58:18.712607Z".len());
    for (member, expected) in [
        ("organization_id", json!(ORGANIZATION)),
        ("secret_id", json!(SECRET)),
        ("version", json!(1)),
        ("status", json!("active")),
        ("provider", json!("aws-secret-manager")),
        ("value", json!("AP8K")),
    ] {
        assert_eq!(created[member], expected, "{member}");
    }

    let path = format!("{VERSIONS}/{id}");
    let (status, got) = running.get(&format!("{path}?return_secret_value=true")).await;
    assert_eq!((status, &got), (200, &created));

    let (status, updated) = running.patch(&path, json!({"status": "inactive"})).await;
    assert_eq!((status, &updated["status"]), (200, &json!("inactive")));
    assert!(updated.get("value").is_none(), "not asked for");
    assert!(updated["updated_at"].as_str() > created["updated_at"].as_str());
    assert_eq!(updated["created_at"], created["created_at"]);

    let (status, deleted) = running.delete(&path).await;
    let message = format!("secret_version_id {id} successfully deleted");
    assert_eq!((status, deleted), (200, json!({"message": message})));
    assert_eq!(running.get(&path).await.0, 404);
    assert_eq!(running.delete(&path).await.0, 404);
    assert_eq!(running.patch(&path, json!({"status": "active"})).await.0, 404);
}

#[tokio::test]
async fn values_are_shown_where_they_are_asked_for() {
    let running = start().await;
    let id = running.create("YQ==").await;
    let rows = |list: &Value| list["versions"].clone();
    for (path, version) in [
        (format!("{VERSIONS}/{id}"), Box::new(|answer: &Value| answer.clone()) as Box<dyn Fn(&Value) -> Value>),
        (VERSIONS.to_owned(), Box::new(move |answer| rows(answer)[0].clone())),
        (format!("{SECRETS}/{SECRET}"), Box::new(move |answer| rows(answer)[0].clone())),
        (SECRETS.to_owned(), Box::new(move |answer| rows(&answer["secrets"][0])[0].clone())),
    ] {
        for (query, shown) in [
            ("", false),
            ("?return_secret_value=false", false),
            ("?return_secret_value=True", true),
            ("?return_secret_value=true", true),
        ] {
            let (_, answer) = running.get(&format!("{path}{query}")).await;
            let version = version(&answer);
            assert_eq!(version["id"], json!(id), "{path}{query}");
            assert_eq!(version.get("value").is_some(), shown, "{path}{query}");
        }
    }
}

#[tokio::test]
async fn lists_are_paged() {
    let running = start().await;
    for (rows, offset, limit, length, has_next) in [
        (0, 0, 50, 0, false),
        (1, 0, 50, 1, false),
        (100, 0, 100, 100, false),
        (101, 0, 100, 100, true),
        (101, 100, 100, 1, false),
        (101, 102, 1, 0, false),
    ] {
        while running.values().await.len() < rows {
            running.create("YQ==").await;
        }
        let (status, list) = running.get(&format!("{VERSIONS}?offset={offset}&limit={limit}")).await;
        assert_eq!(status, 200);
        assert_eq!(list["versions"].as_array().unwrap().len(), length);
        let expected = json!({"count": rows, "has_next": has_next, "limit": limit, "offset": offset});
        assert_eq!(list["pagination"], expected);
    }
    let (_, list) = running.get(VERSIONS).await;
    assert_eq!(list["pagination"], json!({"count": 101, "has_next": true, "limit": 50, "offset": 0}));
}

#[tokio::test]
async fn secrets_are_listed_with_their_versions() {
    let running = start().await;
    running.create("YQ==").await;
    let (status, list) = running.get(&format!("{SECRETS}?limit=1")).await;
    assert_eq!(status, 200);
    assert_eq!(list["organization_id"], ORGANIZATION);
    assert_eq!((&list["offset"], &list["limit"], &list["has_next"]), (&json!(0), &json!(1), &json!(false)));
    assert!(list.get("count").is_none());
    let secret = &list["secrets"][0];
    assert_eq!((&secret["id"], &secret["name"]), (&json!(SECRET), &json!("db-password")));
    assert_eq!(secret["versions"][0]["version"], 1);
    let (_, alone) = running.get(&format!("{SECRETS}/{SECRET}")).await;
    assert_eq!(&alone, secret);
    let (_, none) = running.get("/secret-manager/organizations/1410000000001/secrets").await;
    assert_eq!(none["secrets"], json!([]));
}

#[tokio::test]
async fn errors_have_the_form_that_clients_parse() {
    let running = start().await;
    let id = running.create("YQ==").await;
    let bad = |body: Value| running.request(Method::POST, VERSIONS).json(&body);
    let get = |path: String| running.request(Method::GET, &path);
    for (request, status, code) in [
        (bad(json!({"value": "a b"})), 400, "bad_request"),
        (bad(json!({"value": ""})), 400, "bad_request"),
        (bad(json!({"value": 1})), 400, "bad_request"),
        (bad(json!({})), 400, "bad_request"),
        (running.request(Method::POST, VERSIONS).body("{"), 400, "bad_request"),
        (get(format!("{VERSIONS}?limit=101")), 400, "bad_request"),
        (get(format!("{SECRETS}?offset=-1")), 400, "bad_request"),
        (
            running.request(Method::PATCH, &format!("{VERSIONS}/{id}")).json(&json!({"status": "gone"})),
            400,
            "bad_request",
        ),
        (running.client.get(running.url(VERSIONS)), 401, "unauthorized"),
        (running.client.get(running.url(VERSIONS)).bearer_auth("wrong"), 401, "unauthorized"),
        (running.client.post(running.url(VERSIONS)).bearer_auth("t-reader"), 403, "forbidden"),
        (running.client.get(running.url(VERSIONS)).bearer_auth("t-elsewhere"), 403, "forbidden"),
        (get(format!("{VERSIONS}/9")), 404, "not_found"),
        (get(format!("{SECRETS}/9")), 404, "not_found"),
        (get("/secret-manager/organizations/9/secrets".to_owned()), 404, "not_found"),
        (get("/nowhere".to_owned()), 404, "not_found"),
        (running.request(Method::PUT, VERSIONS), 405, "method_not_allowed"),
        (running.client.get(running.url(SECRETS)).bearer_auth("t-no-list"), 405, "method_not_allowed"),
    ] {
        let (got, body) = answer(request).await;
        assert_eq!((got, &body["error"]), (status, &json!(code)), "{body}");
        assert!(!body["error_description"].as_str().unwrap().is_empty());
    }
    assert_eq!(running.values().await, ["YQ=="], "no refused request left a trace");
}

#[tokio::test]
async fn every_kind_of_credential_is_known_and_named_in_the_journal() {
    let running = start().await;
    let get = || running.client.get(running.url(VERSIONS));
    for (request, name) in [
        (get().bearer_auth("t-all"), "all"),
        (get().basic_auth("user-7", Some("t-user")), "user"),
        (get().basic_auth("datasource-8", Some("t-datasource")), "datasource"),
        (get().bearer_auth("t-reader"), "reader"),
        (get().bearer_auth("t-no-list"), "no-list"),
    ] {
        assert_eq!(answer(request).await.0, 200);
        assert_eq!(running.journal().await.last().unwrap()["credential"], name);
    }
    assert_eq!(answer(get().basic_auth("7", Some("t-user"))).await.0, 401);
    let entry = running.journal().await.pop().unwrap();
    assert_eq!((&entry["credential"], &entry["credential_presented"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn settings_close_what_the_platform_leaves_open() {
    let seed = "
settings: {max_value_bytes: 2, last_active_version: refuse, list_order: newest_first}
organizations:
- {id: '1410000000000', secrets: [{id: '3053595942757', name: a}, {id: b, name: b}]}
credentials: [{name: all, kind: bearer, token: t-all}]";
    let running = start_with(seed).await;
    assert_eq!(running.post(VERSIONS, json!({"value": "YWFh"})).await.0, 400);
    let (first, second) = (running.create("YQ==").await, running.create("Yg==").await);
    let (_, list) = running.get(VERSIONS).await;
    assert_eq!((&list["versions"][0]["id"], &list["versions"][1]["id"]), (&json!(second), &json!(first)));
    let (_, secrets) = running.get(SECRETS).await;
    assert_eq!(secrets["secrets"][0]["id"], "b");
    assert_eq!(running.delete(&format!("{VERSIONS}/{first}")).await.0, 200);
    let only = format!("{VERSIONS}/{second}");
    let (status, body) = running.delete(&only).await;
    assert_eq!((status, &body["error"]), (409, &json!("conflict")));
    assert_eq!(running.patch(&only, json!({"status": "inactive"})).await.0, 409);
}
