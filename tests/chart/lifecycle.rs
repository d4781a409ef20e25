//! Install, upgrade, uninstall, and install again, on a control plane of its own: the definitions belong to one release.

use std::path::Path;
use std::{fs, io};

use kit::ControlPlane;
use kit::controlplane::Options;

use crate::CHART;

const CRDS: [&str; 3] = [
    "secretversions.secrets.abeja.io",
    "abejaconnections.secrets.abeja.io",
    "clusterabejaconnections.secrets.abeja.io",
];

const RESOURCE: &str = "
apiVersion: secrets.abeja.io/v1alpha1
kind: SecretVersion
metadata: {name: kept, namespace: default}
spec:
  connectionRef: {kind: AbejaConnection, name: default}
  remoteRef: {secretId: '1'}
  versionRef: {latest: Active}
";

#[tokio::test]
async fn a_release_comes_changes_and_goes() {
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    let helm = async |args: &[&str]| control_plane.helm(args).await.unwrap().ok().unwrap();
    let kubectl = async |args: &[&str]| control_plane.kubectl(args).await.unwrap().ok().unwrap();

    let install = ["install", "svo", CHART, "--namespace", "svo-system", "--create-namespace"];
    let notes = helm(&install).await;
    assert!(notes.contains("works in all namespaces"), "{notes}");
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", CRDS[0], CRDS[1], CRDS[2]]).await;
    control_plane.kubectl_apply(RESOURCE).await.unwrap();

    // An upgrade brings new definitions: they are not in the folder `crds`, which Helm installs once and never again.
    let newer = tempfile::tempdir().unwrap();
    copy(Path::new(CHART), newer.path()).unwrap();
    let file = newer.path().join("files/crds/secretversions.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("Stop acting and keep everything", "Pause, and keep everything")).unwrap();
    let newer = newer.path().to_str().unwrap();
    helm(&["upgrade", "svo", newer, "--namespace", "svo-system", "--set", "watchNamespaces={default}"]).await;
    let definition = kubectl(&["get", "crd", CRDS[0], "-o", "yaml"]).await;
    assert!(definition.contains("Pause, and keep everything"));
    let roles = kubectl(&["get", "role", "-n", "default", "-o", "name"]).await;
    assert!(roles.contains("svo-system:svo-secret-version-operator"), "{roles}");

    helm(&["uninstall", "svo", "--namespace", "svo-system"]).await;
    kubectl(&["get", "crd", CRDS[0], CRDS[1], CRDS[2]]).await;
    kubectl(&["get", "secretversion", "kept", "-n", "default"]).await;
    let rest = kubectl(&["get", "clusterroles,clusterrolebindings,roles,rolebindings", "-A", "-o", "name"]).await;
    assert!(!rest.contains("secret-version-operator"), "{rest}");

    helm(&install).await;
    let definition = kubectl(&["get", "crd", CRDS[0], "-o", "yaml"]).await;
    assert!(definition.contains("Stop acting and keep everything"));
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
