//! The operator's pod: its arguments are the operator's, and the strictest Pod Security admits it.

use clap::Parser;
use kit::ControlPlane;
use secret_version_operator::cli::{Cli, Command, RunArgs};
use serde_json::{Value, json};

use crate::{render, rendered};

/// Every value that becomes an argument.
const ALL: [&str; 11] = [
    r#"watchNamespaces=["billing","web"]"#,
    r#"clusterResourceNamespace="shared""#,
    r#"endpoints={"allowed":["https://a.example.com","https://b.example.com/base"],"allowInsecure":true}"#,
    "secrets.watch=false",
    "maxConcurrentReconciles=4",
    r#"defaultRefreshInterval="15m""#,
    r#"remoteSettleTime="1m""#,
    r#"leaderElection={"leaseDuration":"30s","renewDeadline":"20s","retryPeriod":"4s"}"#,
    r#"log={"format":"text","level":"info,kube=debug"}"#,
    "replicaCount=2",
    r#"extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]"#,
];

/// The arguments of a Deployment's operator, as it reads them.
fn run_args(deployment: &Value) -> Box<RunArgs> {
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args: Vec<String> = serde_json::from_value(args.clone()).unwrap();
    let line = ["secret-version-operator".to_owned()].into_iter().chain(args);
    match Cli::try_parse_from(line).unwrap().command {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_operator_understands_its_arguments() {
    let args = async |values: &[&str]| run_args(&rendered("Deployment", values).await.unwrap());
    let default = args(&[]).await;
    assert!(default.cluster.watch_namespaces.is_empty() && default.cluster.watch_secrets);
    assert!(!default.remote.allow_insecure_endpoints);
    assert_eq!(default.election.leader_elect_resource_name, "svo-secret-version-operator");

    let all = args(&ALL).await;
    assert_eq!(all.cluster.watch_namespaces, ["billing", "web"]);
    assert_eq!(all.cluster.cluster_resource_namespace.as_deref(), Some("shared"));
    assert_eq!(all.remote.allow_endpoints, ["https://a.example.com", "https://b.example.com/base"]);
    assert!(all.remote.allow_insecure_endpoints && !all.cluster.watch_secrets);
    assert_eq!(all.remote.remote_settle_time.as_secs(), 60);
    assert_eq!(all.work.max_concurrent_reconciles, 4);
    assert_eq!(all.work.default_refresh_interval.as_secs(), 900);
    assert_eq!(all.election.leader_elect_lease_duration.as_secs(), 30);
    assert_eq!(all.election.leader_elect_renew_deadline.as_secs(), 20);
    assert_eq!(all.election.leader_elect_retry_period.as_secs(), 4);
}

/// Each shard has a Deployment of its own, with every replica that is asked for, and a budget of its own.
#[tokio::test]
async fn each_shard_is_a_deployment_that_takes_no_other_shards_pods() {
    for shards in [1, 3] {
        let values =
            [format!("shards={shards}"), "replicaCount=2".to_owned(), "podDisruptionBudget.enabled=true".to_owned()];
        let objects = render(&values.each_ref().map(String::as_str)).await.unwrap();
        let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
        let (deployments, budgets, services) = (of("Deployment"), of("PodDisruptionBudget"), of("Service"));
        assert_eq!((deployments.len(), budgets.len(), services.len()), (shards, shards, 1));
        for (index, (deployment, budget)) in deployments.iter().zip(&budgets).enumerate() {
            let name = match shards {
                1 => "svo-secret-version-operator".to_owned(),
                _ => format!("svo-secret-version-operator-{index}"),
            };
            assert_eq!((&deployment["metadata"]["name"], &budget["metadata"]["name"]), (&json!(name), &json!(name)));
            assert_eq!(deployment["spec"]["replicas"], 2);
            let selector = &deployment["spec"]["selector"]["matchLabels"];
            assert_eq!(&budget["spec"]["selector"]["matchLabels"], selector);
            let selects = |labels: &Value, selector: &Value| {
                selector.as_object().unwrap().iter().all(|(key, value)| &labels[key] == value)
            };
            for (other, deployment) in deployments.iter().enumerate() {
                let labels = &deployment["spec"]["template"]["metadata"]["labels"];
                assert_eq!(selects(labels, selector), index == other);
                assert!(selects(labels, &services[0]["spec"]["selector"]), "all are measured");
            }
            let args = run_args(deployment);
            assert_eq!(args.work.shard, (shards > 1).then(|| format!("{index}/{shards}")));
            assert_eq!(args.election.leader_elect_resource_name, "svo-secret-version-operator");
        }
    }
}

#[tokio::test]
async fn the_strictest_pod_security_admits_the_pod() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("restricted").await.unwrap();
    let enforce = ["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"];
    control_plane.kubectl(&enforce).await.unwrap().ok().unwrap();
    let template = rendered("Deployment", &ALL).await.unwrap()["spec"]["template"].clone();
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]});
    let ask = async |pod: &Value| {
        let args = ["create", "--dry-run=server", "-n", &namespace, "-f", "-"];
        control_plane.kubectl_with_input(&args, &pod.to_string()).await.unwrap()
    };
    ask(&pod).await.ok().unwrap();
    // That an answer says something: the namespace does refuse.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = ask(&pod).await;
    assert!(refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_cluster_takes_all_that_can_be_turned_on() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("options").await.unwrap();
    let on = [
        "shards=2",
        "podDisruptionBudget.enabled=true",
        "networkPolicy.enabled=true",
        r#"networkPolicy.metricsFrom=[{"namespaceSelector":{}}]"#,
        "serviceMonitor.enabled=true",
        r#"nodeSelector={"kubernetes.io/os":"linux"}"#,
        r#"tolerations=[{"operator":"Exists"}]"#,
        r#"imagePullSecrets=[{"name":"registry"}]"#,
        r#"priorityClassName="system-cluster-critical""#,
    ];
    let mut kinds = Vec::new();
    for mut object in render(&on).await.unwrap() {
        let kind = object["kind"].as_str().unwrap().to_owned();
        // Definitions of the Prometheus operator are not installed; roles are tried by the tests that use them.
        if object["metadata"]["namespace"].is_string() && kind != "ServiceMonitor" && !kind.contains("Role") {
            object["metadata"]["namespace"] = json!(&*namespace);
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            control_plane.kubectl_with_input(&create, &object.to_string()).await.unwrap().ok().unwrap();
        }
        kinds.push(kind);
    }
    for kind in ["Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"] {
        assert!(kinds.iter().any(|it| it == kind), "no {kind}");
    }
}
