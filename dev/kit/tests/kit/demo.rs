//! The demo in somebody's own cluster: the whole story, and nothing left behind.

use std::collections::BTreeSet;

use kit::ControlPlane;
use kit::controlplane::Options;
use tokio::process::Command;

/// Everything that the demo could forget, by name.
async fn inventory(plane: &ControlPlane) -> BTreeSet<String> {
    let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,secrets,deployments,leases";
    let get = ["get", kinds, "-A", "--no-headers", "-o", "custom-columns=:kind,:metadata.namespace,:metadata.name"];
    plane.kubectl(&get).await.unwrap().ok().unwrap().lines().map(str::to_owned).collect()
}

async fn demo(plane: &ControlPlane) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_kit"))
        .arg("demo")
        .env("ONCE", "1")
        .env("DEMO_KUBECONFIG", plane.kubeconfig_admin())
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_demo_leaves_a_users_cluster_as_it_was() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    if plane.controller_manager().is_none() {
        kit::progress::say("SKIPPED the demo: KUBEBUILDER_ASSETS has no kube-controller-manager");
        return;
    }
    let before = inventory(&plane).await;

    let told = demo(&plane).await;

    let story = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{story}{}", String::from_utf8_lossy(&told.stderr));
    assert!(story.contains("── 8. The resource goes"), "{story}");
    assert!(!story.contains('\x1b'), "colours are for terminals");
    assert_eq!(inventory(&plane).await, before);

    // Somebody's own operator would join in.
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: theirs\n  namespace: default\n  \
        labels: {app.kubernetes.io/name: secret-version-operator}\nspec:\n  replicas: 0\n  \
        selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: a}}\n    \
        spec: {containers: [{name: a, image: a}]}\n";
    plane.kubectl_apply(deployment).await.unwrap();
    let before = inventory(&plane).await;
    let refused = demo(&plane).await;
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("has a secret-version-operator already"), "{error}");
    assert_eq!(inventory(&plane).await, before);
}
