//! What is written must fit: schemas of the definitions, and the rules of Secrets, Leases, Events.

use serde_json::{Value, json};

use crate::harness::{CONNECTIONS, SECRETS, Server, cases, connection, secret};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/{ns}/events";
const RESOURCES: &str = "/apis/secrets.abeja.io/v1alpha1/namespaces/{ns}/secretversions";

cases! {
    what_the_schema_does_not_know_is_pruned,
    what_does_not_fit_the_schema_is_refused,
    a_status_that_does_not_fit_is_refused,
    keys_and_types_of_secrets,
    what_is_immutable_stays,
    labels_annotations_and_finalizers,
    leases_are_created_by_replacement_and_have_bounds,
    events_say_all_and_stay,
    a_body_is_not_endless,
}

async fn what_the_schema_does_not_know_is_pruned(server: &mut Server) {
    let mut body = connection("a");
    body["unknown"] = 1.into();
    body["spec"]["unknown"] = json!({"a": 1});
    body["spec"]["auth"]["unknown"] = json!([1]);
    body["metadata"]["unknown"] = 1.into();
    let created = server.post(CONNECTIONS, body).await.ok();
    assert_eq!(created.body["spec"].get("unknown"), None);
    let again = server.merge(&format!("{CONNECTIONS}/a/status"), json!({"status": {"unknown": 1}})).await.ok();
    assert_eq!(again.body["status"].get("unknown"), None);
    let mut body = secret("a");
    body["unknown"] = 1.into();
    server.post(SECRETS, body).await.ok();
}

/// A managed resource, valid and small.
fn resource() -> Value {
    json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": {"name": "a"},
        "spec": {
            "connectionRef": {"kind": "AbejaConnection", "name": "c"},
            "remoteRef": {"secretId": "1"},
            "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
        },
    })
}

async fn what_does_not_fit_the_schema_is_refused(server: &mut Server) {
    for (path, value) in [
        ("/spec/connectionRef/kind", json!("Other")),
        ("/spec/connectionRef/name", json!("Not_A_Name")),
        ("/spec/connectionRef/name", json!("")),
        ("/spec/connectionRef", json!({})),
        ("/spec/connectionRef", json!("text")),
        ("/spec/remoteRef/secretId", json!(1)),
        ("/spec/remoteRef/secretId", json!("x".repeat(65))),
        ("/spec/valueFrom/secretKeyRef", json!({"name": "s"})),
        ("/spec", json!(null)),
    ] {
        let mut body = resource();
        *body.pointer_mut(path).expect("it is there") = value;
        server.post(RESOURCES, body).await.is(422, "Invalid");
    }
    server.post(RESOURCES, resource()).await.ok();
    let path = format!("{RESOURCES}/a");
    for change in [
        json!({"spec": {"state": "Other"}}),
        json!({"spec": {"suspend": "yes"}}),
        json!({"spec": {"target": {"data": []}}}),
        json!({"spec": {"target": {"data": [{"key": "a", "property": "a"}, {"key": "a", "property": "b"}]}}}),
        json!({"spec": {"target": {"labels": {"a": "b c"}}}}),
        json!({"spec": {"target": {"labels": {"a": 1}}}}),
    ] {
        server.merge(&path, change).await.is(422, "Invalid");
    }
    server.merge(&path, json!({"spec": {"state": "Inactive", "target": {"labels": {"a": "b"}}}})).await.ok();
    for number in [0, 1000] {
        let mut body = connection("b");
        body["spec"]["timeoutSeconds"] = number.into();
        server.post(CONNECTIONS, body).await.is(422, "Invalid");
    }
}

async fn a_status_that_does_not_fit_is_refused(server: &mut Server) {
    server.post(RESOURCES, resource()).await.ok();
    let path = format!("{RESOURCES}/a/status");
    for status in [
        json!({"observedGeneration": "1"}),
        json!({"history": [{"version": 1}]}),
        json!({"conditions": [{"type": "Ready", "status": "Perhaps"}]}),
        json!({"state": "Other"}),
    ] {
        server.merge(&path, json!({"status": status})).await.is(422, "Invalid");
    }
    server.merge(&path, json!({"status": {"state": "Active", "version": 3}})).await.ok();
}

async fn keys_and_types_of_secrets(server: &mut Server) {
    let of = |kind: &str, data: Value| {
        let mut body = secret("a");
        body["type"] = kind.into();
        body["data"] = data;
        body
    };
    for (kind, data) in [
        ("Opaque", json!({"a/b": "YQ=="})),
        ("Opaque", json!({"..": "YQ==", ".": "YQ==", "..a": "YQ=="})),
        ("kubernetes.io/tls", json!({})),
        ("kubernetes.io/tls", json!({"tls.crt": "YQ=="})),
        ("kubernetes.io/ssh-auth", json!({"a": "YQ=="})),
        ("kubernetes.io/basic-auth", json!({"a": "YQ=="})),
        ("kubernetes.io/dockercfg", json!({"a": "YQ=="})),
        ("kubernetes.io/dockerconfigjson", json!({"a": "YQ=="})),
        ("kubernetes.io/service-account-token", json!({})),
    ] {
        server.post(SECRETS, of(kind, data)).await.is(422, "Invalid");
    }
    // Its words tell how reading JSON failed.
    let unreadable = of("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "YQ=="}));
    server.unnoted("POST", SECRETS, &unreadable).await.is(422, "Invalid");
    server.unnoted("POST", SECRETS, &of("Opaque", json!({"a": "!"}))).await.is(400, "BadRequest");
    server.unnoted("POST", SECRETS, &of("Opaque", json!({"a": 1}))).await.is(400, "BadRequest");
    let big = "A".repeat(1024 * 1024 / 3 * 4 + 8);
    server.post(SECRETS, of("Opaque", json!({"a": big}))).await.is(422, "Invalid");
    server.post(SECRETS, of("kubernetes.io/basic-auth", json!({"username": "YQ=="}))).await.ok();
}

async fn what_is_immutable_stays(server: &mut Server) {
    let path = format!("{SECRETS}/a");
    let mut body = secret("a");
    body["immutable"] = true.into();
    server.post(SECRETS, body).await.ok();
    server.merge(&path, json!({"data": {"key": "YQ=="}})).await.is(422, "Invalid");
    server.merge(&path, json!({"immutable": false})).await.is(422, "Invalid");
    server.merge(&path, json!({"immutable": null})).await.is(422, "Invalid");
    server.merge(&path, json!({"type": "example.com/other"})).await.is(422, "Invalid");
    server.merge(&path, json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    server.post(SECRETS, secret("b")).await.ok();
    server.merge(&format!("{SECRETS}/b"), json!({"type": "example.com/other"})).await.is(422, "Invalid");
    // What is wrong is quoted, values included.
    server.unnoted("PATCH", &format!("{SECRETS}/b"), &json!({"data": {"key": 1}})).await.is(422, "Invalid");
}

async fn labels_annotations_and_finalizers(server: &mut Server) {
    for (path, body) in [(SECRETS, secret("a")), (CONNECTIONS, connection("a"))] {
        server.post(path, body).await.ok();
        let at = format!("{path}/a");
        for change in
            [json!({"labels": {"a b": "c"}}), json!({"labels": {"a": "c d"}}), json!({"annotations": {"a/b c": "d"}})]
        {
            server.merge(&at, json!({"metadata": change})).await.is(422, "Invalid");
        }
        // Of custom resources any name is taken, with a warning.
        server.merge(&at, json!({"metadata": {"finalizers": ["plain"]}})).await;
        let fine = json!({"labels": {"a.b/c": ""}, "annotations": {"a": "any thing"}, "finalizers": ["a.b/c"]});
        server.merge(&at, json!({"metadata": fine})).await.ok();
    }
}

async fn leases_are_created_by_replacement_and_have_bounds(server: &mut Server) {
    let lease = |spec: Value| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": spec,
        })
    };
    server.post(LEASES, lease(json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}))).await.is(422, "Invalid");
    let short = lease(json!({"renewTime": "2026-01-01T00:00:00Z"}));
    server.unnoted("POST", LEASES, &short).await.is(400, "BadRequest");
    let held = json!({
        "holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000001Z",
    });
    let made = server.put(&format!("{LEASES}/a"), lease(held)).await.ok();
    assert_eq!(made.code, 201);
    let mut next = made.body.clone();
    next["spec"]["holderIdentity"] = "two".into();
    server.put(&format!("{LEASES}/a"), next.clone()).await.ok();
    server.put(&format!("{LEASES}/a"), next).await.is(409, "Conflict");
    server.post(LEASES, lease(json!({}))).await.is(409, "AlreadyExists");
    // Without a version it is refused, even a Lease.
    server.put(&format!("{LEASES}/a"), lease(json!({"holderIdentity": "three"}))).await;
}

async fn events_say_all_and_stay(server: &mut Server) {
    let namespace = server.namespace().to_owned();
    let event = |name: &str| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
            "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Act", "reason": "Reason", "type": "Normal",
            "note": "what happened", "reportingController": "controller", "reportingInstance": "instance",
            "regarding": {
                "kind": "SecretVersion", "apiVersion": "secrets.abeja.io/v1alpha1", "name": "x",
                "namespace": namespace, "uid": "u",
            },
        })
    };
    server.post(EVENTS, event("a")).await.ok();
    for (field, value) in [
        ("note", json!("n".repeat(1025))),
        ("reason", json!("r".repeat(129))),
        ("action", json!("")),
        ("reportingInstance", json!("")),
        ("type", json!("Odd")),
        ("eventTime", json!(null)),
        ("series", json!({"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"})),
    ] {
        let mut body = event("b");
        body[field] = value;
        server.post(EVENTS, body).await.is(422, "Invalid");
    }
    let mut body = event("b");
    body["regarding"].as_object_mut().expect("a map").remove("namespace");
    server.post(EVENTS, body).await.is(422, "Invalid");

    let path = format!("{EVENTS}/a");
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:10.000000Z"});
    let mut again = event("a");
    again["series"] = series;
    server.merge(&path, again).await.ok();
    server.merge(&path, json!({"note": "other"})).await.is(422, "Invalid");
    server.merge(&path, json!({"reason": "Other"})).await.is(422, "Invalid");
    server.merge(&format!("{EVENTS}/absent"), event("absent")).await.is(404, "NotFound");
}

async fn a_body_is_not_endless(server: &mut Server) {
    let mut body = secret("a");
    body["data"] = json!({"a": "A".repeat(4 * 1024 * 1024)});
    server.post(SECRETS, body).await.is(413, "RequestEntityTooLarge");
}
