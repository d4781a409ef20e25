//! The control plane does what tests of the operator rely on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use kit::assets::Binary;
use kit::controlplane::Options;
use kit::progress::say;
use kit::{ControlPlane, eventually, metrics};

const SOON: Duration = Duration::from_mins(1);

/// Without a controller manager nothing collects garbage. Says so.
fn has_controllers(plane: &ControlPlane, test: &str) -> bool {
    let has = plane.controller_manager().is_some();
    if !has {
        say(format!("SKIPPED {test}: KUBEBUILDER_ASSETS has no kube-controller-manager"));
    }
    has
}

#[tokio::test]
async fn a_namespace_comes_and_goes_with_what_is_in_it() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace("comes-and-goes").await.unwrap();
    let manifest = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {namespace}}}\n");
    let said = plane.kubectl_apply(&manifest).await.unwrap();
    assert_eq!(said.trim(), "configmap/a created");
    if !has_controllers(plane, "deletion of a namespace") {
        return;
    }
    let delete = ["delete", "namespace", &namespace, "--timeout=60s"];
    plane.kubectl(&delete).await.unwrap().ok().unwrap();
    let get = ["get", "namespace", &namespace];
    let gone = plane.kubectl(&get).await.unwrap();
    assert!(gone.stderr.contains("NotFound"), "{gone:?}");
}

#[tokio::test]
async fn an_owned_secret_goes_with_its_owner() {
    let plane = ControlPlane::shared().await.unwrap();
    if !has_controllers(plane, "garbage collection") {
        return;
    }
    let namespace = plane.namespace("owned").await.unwrap();
    let create = ["create", "configmap", "owner", "-n", &namespace];
    let uid = ["-o", "jsonpath={.metadata.uid}"];
    let uid = plane.kubectl(&[&create[..], &uid].concat()).await.unwrap();
    let uid = uid.ok().unwrap();
    let owned = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: owned\n  namespace: {namespace}\n  \
         ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]\n"
    );
    plane.kubectl_apply(&owned).await.unwrap();
    let delete = ["delete", "configmap", "owner", "-n", &namespace];
    plane.kubectl(&delete).await.unwrap().ok().unwrap();
    let get = ["get", "secret", "-n", &namespace, "-o", "name"];
    eventually(SOON, "the owned Secret is gone", || async {
        let left = plane.kubectl(&get).await?.ok()?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_service_account_is_denied_what_no_role_allows_and_the_audit_log_tells() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace("denied").await.unwrap();
    let create = ["create", "serviceaccount", "robot", "-n", &namespace];
    plane.kubectl(&create).await.unwrap().ok().unwrap();
    let robot = plane.kubeconfig_for_service_account(&namespace, "robot");
    let robot = robot.await.unwrap();
    let mark = plane.audit_mark().unwrap();

    let whoami = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    let name = plane.kubectl_as(&robot, &whoami).await.unwrap();
    assert_eq!(name.ok().unwrap(), format!("system:serviceaccount:{namespace}:robot"));
    let secrets = ["get", "secrets", "-n", &namespace];
    let refused = plane.kubectl_as(&robot, &secrets).await.unwrap();
    assert!(refused.stderr.contains("Forbidden"), "{refused:?}");

    eventually(SOON, "the audit log has the refusal", || async {
        let audit = plane.audit_since(mark)?.service_account(&namespace, "robot");
        let denied = audit.clone().denied();
        ensure!(denied.len() == 1, "{:?}", denied.events());
        let event = &denied.events()[0];
        assert_eq!((event.verb.as_str(), event.code), ("list", 403));
        assert_eq!(event.resource, "secrets");
        assert_eq!(event.namespace, *namespace);
        // The question who one is, is asked by a create.
        assert_eq!(audit.writes().resource("selfsubjectreviews").len(), 1);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn writes_can_be_counted_in_metrics_and_audit_log() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace("counted").await.unwrap();
    // A resource that no other test and no controller creates.
    let labels = [("verb", "POST"), ("resource", "limitranges")];
    let count = async || {
        let page = plane.metrics().await.unwrap();
        metrics::sum(&page, "apiserver_request_total", &labels)
    };
    let before = count().await;
    let manifest = format!(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {{limits: []}}\n"
    );
    plane.kubectl_apply(&manifest).await.unwrap();
    assert!((count().await - before - 1.0).abs() < 1e-9);
    eventually(SOON, "the audit log has the write", || async {
        let audit = plane.audit()?.namespace(&namespace);
        let writes = audit.user("kit:admin").writes().resource("limitranges");
        ensure!(writes.len() == 1, "{:?}", writes.events());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn helm_reaches_the_cluster() {
    let plane = ControlPlane::shared().await.unwrap();
    if plane.assets().get(Binary::Helm).is_none() {
        say("SKIPPED helm: KUBEBUILDER_ASSETS has none");
        return;
    }
    let list = ["list", "-A", "-o", "json"];
    let releases = plane.helm(&list).await.unwrap().ok().unwrap();
    assert_eq!(releases.trim(), "[]");
}

#[tokio::test]
async fn each_process_can_fail_by_itself_and_data_stays() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let create = ["create", "namespace", "stays"];
    plane.kubectl(&create).await.unwrap().ok().unwrap();
    let get = ["get", "namespace", "stays", "--request-timeout=2s"];

    plane.apiserver().kill().unwrap();
    assert!(!plane.kubectl(&get).await.unwrap().success());
    plane.apiserver().start().unwrap();
    plane.wait_ready().await.unwrap();
    plane.kubectl(&get).await.unwrap().ok().unwrap();

    plane.apiserver().pause().unwrap();
    assert!(!plane.kubectl(&get).await.unwrap().success());
    plane.apiserver().resume().unwrap();
    plane.kubectl(&get).await.unwrap().ok().unwrap();

    plane.etcd().kill().unwrap();
    plane.etcd().start().unwrap();
    plane.wait_ready().await.unwrap();
    plane.kubectl(&get).await.unwrap().ok().unwrap();

    plane.apiserver().restart().await.unwrap();
    plane.wait_ready().await.unwrap();
    plane.kubectl(&get).await.unwrap().ok().unwrap();

    let folder = plane.run_dir().path().to_owned();
    plane.stop().await.unwrap();
    assert_eq!(processes_naming(&folder), [""; 0]);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_killed_parent_leaves_neither_process_nor_folder() {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_kit")).arg("up").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let kubeconfig = line.trim().strip_prefix("export KUBECONFIG=").unwrap();
    let folder = Path::new(kubeconfig).parent().unwrap();
    // etcd and kube-apiserver at least, and the shell that tidies up.
    assert!(processes_naming(folder).len() >= 3);

    // `SIGKILL`: the parent has no chance to do anything.
    parent.kill().unwrap();
    parent.wait().unwrap();

    eventually(SOON, "nothing is left", || async {
        let left = processes_naming(folder);
        ensure!(left.is_empty(), "{left:?}");
        ensure!(!folder.exists(), "the folder is there");
        Ok(())
    })
    .await
    .unwrap();
}

/// The command lines of all processes that name a folder of this run.
fn processes_naming(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[tokio::test]
async fn a_store_that_is_full_refuses_writes_and_one_that_is_compacted_has_no_history() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let create = async |name: &str| plane.kubectl(&["create", "configmap", name]).await.unwrap();
    create("before").await.ok().unwrap();
    plane.store().set_full(true).await.unwrap();
    let refused = create("refused").await;
    assert!(refused.stderr.contains("database space exceeded"), "{refused:?}");
    plane.store().set_full(false).await.unwrap();
    create("after").await.ok().unwrap();

    let raw = async |path: &str| plane.kubectl(&["get", "--raw", path]).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1&resourceVersion=2";
    assert!(!raw(path).await.ok().unwrap().contains("\"code\":410"));
    plane.store().compact().await.unwrap();
    plane.apiserver().kill().unwrap();
    plane.apiserver().start().unwrap();
    plane.wait_ready().await.unwrap();
    let expired = raw(path).await;
    assert!(format!("{expired:?}").contains("too old resource version"), "{expired:?}");
}
