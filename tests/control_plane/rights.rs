//! What the operator may do in a real cluster once the chart is installed, and what it may not: asked of the apiserver's own
//! authorizer, as the operator.

use clap::Parser;
use kit::ControlPlane;
use kit::install::{self, Installed};
use secret_version_operator::cli::Cli;

/// Whether the operator may: a verb, a resource as `kubectl auth can-i` takes it, and the namespace, or none for all.
type Question = (&'static str, &'static str, Option<Where>);

/// A namespace, by its part in the test.
#[derive(Clone, Copy)]
enum Where {
    /// The release's own.
    Own,
    /// One that it watches.
    Watched,
    /// One that it has nothing to do with.
    Other,
}
use Where::{Other, Own, Watched};

/// So in every installation.
const ALWAYS: [Question; 11] = [
    ("list", "secretversions.secrets.abeja.io", None),
    ("patch", "secretversions.secrets.abeja.io", Some(Other)),
    ("patch", "secretversions.secrets.abeja.io --subresource=status", Some(Other)),
    ("watch", "abejaconnections.secrets.abeja.io", None),
    ("patch", "clusterabejaconnections.secrets.abeja.io --subresource=status", None),
    ("list", "namespaces", None),
    ("create", "events.events.k8s.io", Some(Other)),
    ("create", "leases.coordination.k8s.io", Some(Own)),
    ("update", "leases.coordination.k8s.io/operator", Some(Own)),
    ("create", "secrets", Some(Own)),
    ("patch", "secrets", Some(Watched)),
];

/// In no installation.
const NEVER: [Question; 11] = [
    ("update", "secretversions.secrets.abeja.io", Some(Watched)),
    ("create", "secretversions.secrets.abeja.io", Some(Watched)),
    ("delete", "secretversions.secrets.abeja.io", Some(Watched)),
    ("update", "secrets", Some(Watched)),
    ("list", "configmaps", Some(Watched)),
    ("get", "pods", Some(Watched)),
    ("create", "serviceaccounts --subresource=token", Some(Own)),
    ("update", "leases.coordination.k8s.io/another", Some(Own)),
    ("create", "leases.coordination.k8s.io", Some(Watched)),
    ("get", "customresourcedefinitions.apiextensions.k8s.io", None),
    ("create", "clusterroles.rbac.authorization.k8s.io", None),
];

#[tokio::test]
async fn everywhere() {
    let may = [("list", "secrets", None), ("delete", "secrets", Some(Other)), ("get", "configmaps", Some(Other))];
    compare(&[], &may, &[]).await;
}

#[tokio::test]
async fn in_listed_namespaces() {
    let may = [("list", "secrets", Some(Watched)), ("delete", "secrets", Some(Watched)), ("get", "secrets", Some(Own))];
    let may_not = [
        ("get", "secrets", Some(Other)),
        ("get", "configmaps", Some(Other)),
        ("list", "secrets", None),
        ("list", "secrets", Some(Own)),
        ("delete", "secrets", Some(Own)),
    ];
    compare(&["watchNamespaces={WATCHED}"], &may, &may_not).await;
}

#[tokio::test]
async fn without_watches_of_secrets() {
    let may = [("get", "secrets", Some(Watched)), ("delete", "secrets", Some(Watched))];
    let may_not = [("list", "secrets", Some(Watched)), ("watch", "secrets", Some(Watched))];
    compare(&["secrets.watch=false"], &may, &may_not).await;
}

/// Installs with these values and asks. `WATCHED` stands for the watched namespace.
async fn compare(values: &[&str], may: &[Question], may_not: &[Question]) {
    let control_plane = ControlPlane::shared().await.unwrap();
    let [own, watched, other] = ["own", "watched", "other"].map(|prefix| control_plane.namespace(prefix));
    let (own, watched, other) = tokio::try_join!(own, watched, other).unwrap();
    let values: Vec<_> = values.iter().map(|value| value.replace("WATCHED", &watched)).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let Installed { kubeconfig, args, .. } = install::chart(control_plane, &own, &values).await.unwrap();

    let line = ["secret-version-operator", "run"].into_iter().chain(args.iter().map(String::as_str));
    Cli::try_parse_from(line).unwrap();

    let yes = ALWAYS.iter().chain(may).map(|question| (question, "yes"));
    let no = NEVER.iter().chain(may_not).map(|question| (question, "no"));
    for ((verb, resource, place), expected) in yes.chain(no) {
        let place = match place {
            Some(Own) => vec!["-n", &own],
            Some(Watched) => vec!["-n", &watched],
            Some(Other) => vec!["-n", &other],
            None => vec!["--all-namespaces"],
        };
        let mut ask = vec!["auth", "can-i", verb];
        ask.extend(resource.split(' '));
        ask.extend(place);
        let answer = control_plane.kubectl_as(&kubeconfig, &ask).await.unwrap();
        assert_eq!(answer.stdout.trim(), expected, "{}: {}", answer.command, answer.stderr);
    }
}
