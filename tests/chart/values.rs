//! What the values may be.

use kit::ControlPlane;

use crate::{CHART, template};

#[tokio::test]
async fn the_chart_has_no_fault_that_lint_finds() {
    let control_plane = ControlPlane::shared().await.unwrap();
    control_plane.helm(&["lint", CHART, "--strict"]).await.unwrap().ok().unwrap();
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_rendered() {
    for (value, place) in [
        (r#"replicaCount="two""#, "/replicaCount"),
        ("replicaCount=-1", "/replicaCount"),
        ("shards=0", "/shards"),
        ("shards=17", "/shards"),
        (r#"shards="2""#, "/shards"),
        (r#"image.repository="""#, "/image/repository"),
        (r#"image.digest="latest""#, "/image/digest"),
        (r#"image.pullPolicy="Sometimes""#, "/image/pullPolicy"),
        (r#"watchNamespaces="billing""#, "/watchNamespaces"),
        (r#"watchNamespaces=["Not_A_Namespace"]"#, "/watchNamespaces/0"),
        (r#"watchNamespaces=["a","a"]"#, "/watchNamespaces"),
        (r#"clusterResourceNamespace="a/b""#, "/clusterResourceNamespace"),
        (r#"endpoints.allowed=["api.example.com"]"#, "/endpoints/allowed/0"),
        (r#"endpoints.allowed=["https://user@api.example.com"]"#, "/endpoints/allowed/0"),
        (r#"secrets.watch="yes""#, "/secrets/watch"),
        ("maxConcurrentReconciles=0", "/maxConcurrentReconciles"),
        (r#"defaultRefreshInterval="1d""#, "/defaultRefreshInterval"),
        ("defaultRefreshInterval=60", "/defaultRefreshInterval"),
        (r#"log.format="xml""#, "/log/format"),
        ("metrics.service.port=70000", "/metrics/service/port"),
        ("terminationGracePeriodSeconds=0", "/terminationGracePeriodSeconds"),
        (r#"strategy.type="Now""#, "/strategy/type"),
        ("crds.instal=false", "instal"),
        ("leaderElection.enabled=false", "enabled"),
        ("installCRDs=true", "installCRDs"),
    ] {
        let output = template(&[value]).await.unwrap();
        assert!(!output.success(), "{value} is taken");
        assert!(output.stderr.contains(place), "{value}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_service_monitor_needs_a_service() {
    let output = template(&["serviceMonitor.enabled=true", "metrics.service.enabled=false"]).await.unwrap();
    assert!(output.stderr.contains("serviceMonitor.enabled needs metrics.service.enabled"), "{}", output.stderr);
}
