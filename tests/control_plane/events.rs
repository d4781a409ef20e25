//! Events on a real apiserver, with the rights that the chart gives: it takes them, counts repeated ones, and shows them.

use k8s_openapi::api::core::v1::ObjectReference;
use kit::{ControlPlane, install};
use secret_version_operator::config::ClusterAccess;
use secret_version_operator::ops::events::{EventKind, Events};
use serde_json::Value;

#[tokio::test]
async fn events_are_taken_and_counted() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("events").await.unwrap();
    let watch = format!("watchNamespaces={{{}}}", &*namespace);
    let kubeconfig = install::chart(control_plane, &namespace, &[&watch]).await.unwrap().kubeconfig;
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClusterAccess { kubeconfig: Some(kubeconfig), context: None }.load().await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let events = Events::new(client, &"a-pod-with-a-long-name-".repeat(10));
    let object = |namespace: Option<&str>, kind: &str, name: &str| ObjectReference {
        api_version: Some("secrets.abeja.io/v1alpha1".to_owned()),
        kind: Some(kind.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        uid: Some("11111111-2222-3333-4444-555555555555".to_owned()),
        ..ObjectReference::default()
    };

    // The longest name that the schema admits, and a note of the longest that is told, in characters of several bytes.
    let longest = "n".repeat(200);
    let version = object(Some(&*namespace), "SecretVersion", &longest);
    for _ in 0..3 {
        events.publish(&version, EventKind::Warning, "SourceNotFound", "Sync", &"秘".repeat(1000)).await;
    }
    // Controllers of the cluster tell of other objects here.
    let ours = "regarding.kind=SecretVersion";
    let get = ["get", "events.events.k8s.io", "-n", &namespace, "--field-selector", ours, "-o", "json"];
    let list: Value = serde_json::from_str(&control_plane.kubectl(&get).await.unwrap().ok().unwrap()).unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{list:#}");
    assert_eq!(items[0]["type"], "Warning");
    assert_eq!(items[0]["regarding"]["name"], longest.as_str());
    assert_eq!(items[0]["series"]["count"], 3);
    assert!(items[0]["note"].as_str().unwrap().ends_with('…'));

    // One without a namespace is told in `default`.
    let name = namespace.to_string();
    events.publish(&object(None, "ClusterAbejaConnection", &name), EventKind::Normal, "Synced", "Sync", "done").await;
    let field = format!("regarding.name={name}");
    let get = ["get", "events.events.k8s.io", "-n", "default", "--field-selector", &field, "-o", "name"];
    let found = control_plane.kubectl(&get).await.unwrap().ok().unwrap();
    assert_eq!(found.lines().count(), 1, "{found}");
}
