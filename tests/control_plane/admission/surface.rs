//! What users and tools meet of the definitions: warnings, documentation, columns, defaults, selectors.

use kube::api::ListParams;

use super::*;

const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

#[tokio::test]
async fn the_definitions_are_served_without_a_warning() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let apply = ["apply", "--server-side", "-f", CRDS];
    let output = control_plane.kubectl(&apply).await.unwrap();
    assert_eq!(output.stderr, "");
    output.ok().unwrap();
    kit::install::crds(control_plane).await.unwrap();
    let get = ["get", "-f", CRDS, "-o", "jsonpath={.items[*].status.conditions[*].type}"];
    let conditions = control_plane.kubectl(&get).await.unwrap().ok().unwrap();
    assert!(!conditions.contains("NonStructuralSchema"), "{conditions}");
}

#[tokio::test]
async fn kubectl_explains_each_field() {
    let control_plane = ControlPlane::shared().await.unwrap();
    kit::install::crds(control_plane).await.unwrap();
    for (path, text) in [
        ("sv", "A version of a secret in the ABEJA Platform Secret Manager"),
        ("sv.spec.target", "Key that holds the value. Default `value`."),
        ("sv.spec.target.creationPolicy", "How the Secret belongs to this resource"),
        ("sv.spec.versionRef", "The version with this number, counted from 1."),
        ("abejaconn.spec.auth", "A user: a Secret with the keys `userId`"),
        ("cabejaconn.spec.access", "`Read` follows versions."),
    ] {
        // The server publishes a schema a moment after it serves the resource.
        let explained = kit::eventually(std::time::Duration::from_mins(1), path, async || {
            control_plane.kubectl(&["explain", path]).await?.ok()
        });
        let explained = explained.await.unwrap();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&explained).contains(&words(text)), "{path}: {explained}");
    }
}

#[tokio::test]
async fn a_null_is_dropped_and_nothing_is_filled_in_but_the_status() {
    let admission = Admission::start().await.unwrap();
    let specification = &specifications()[0];
    let mut sent = specification.object(&json!({}));
    sent["metadata"]["name"] = json!("nulls");
    let spec = sent["spec"].clone();
    for field in ["state", "target", "refreshInterval", "versionRef", "suspend"] {
        sent["spec"][field] = Value::Null;
    }
    let stored = admission.store(&sent).await.unwrap();
    assert_eq!(stored.data["spec"], spec);
    // So that kstatus does not take a resource that nobody looked at yet for finished.
    assert_eq!(stored.data["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn a_table_has_the_columns_that_people_look_for() {
    let admission = Admission::start().await.unwrap();
    let mut object = specifications()[0].object(&json!({}));
    object["metadata"]["name"] = json!("columns");
    admission.store(&object).await.unwrap();
    let control_plane = ControlPlane::shared().await.unwrap();
    let header = async |resource: &str, wide: &[&str]| {
        let args = ["get", resource, "-n", &admission.namespace];
        let table = control_plane.kubectl(&[&args, wide].concat()).await.unwrap().ok().unwrap();
        let header = table.lines().next().unwrap_or_default();
        header.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(header("sv", &[]).await, "NAME SECRET VERSION STATE READY REASON AGE");
    assert_eq!(
        header("sv", &["-o", "wide"]).await,
        "NAME SECRET VERSION STATE READY REASON AGE TARGET SUSPENDED LAST CHANGE"
    );
    object = specifications()[1].object(&json!({}));
    admission.store(&object).await.unwrap();
    assert_eq!(header("abejaconn", &[]).await, "NAME ORGANIZATION READY REASON AGE");
    assert_eq!(header("abejaconn", &["-o", "wide"]).await, "NAME ORGANIZATION READY REASON AGE URL");
    let category = ["api-resources", "--categories=abeja", "-o", "name"];
    let names = control_plane.kubectl(&category).await.unwrap().ok().unwrap();
    assert_eq!(names.lines().count(), 3, "{names}");
}

#[tokio::test]
async fn resources_are_found_by_what_they_refer_to() {
    let admission = Admission::start().await.unwrap();
    let patch = json!({"metadata": {"name": "selected"}, "spec": {"target": {"name": "app"}}});
    admission.store(&specifications()[0].object(&patch)).await.unwrap();
    let api = admission.api("SecretVersion");
    for (selector, found) in [
        ("spec.connectionRef.name=billing", 1),
        ("spec.connectionRef.name=other", 0),
        ("spec.remoteRef.secretId=3053595942757", 1),
        ("spec.target.name=app", 1),
        ("spec.target.name=other", 0),
    ] {
        let list = api.list(&ListParams::default().fields(selector)).await.unwrap();
        assert_eq!(list.items.len(), found, "{selector}");
    }
}

/// A client that does not ask for strict validation has unknown fields dropped. Of a selector, nothing may be dropped: what
/// is left would mean every namespace.
#[tokio::test]
async fn a_misspelt_selector_never_opens_a_connection() {
    let admission = Admission::start().await.unwrap();
    let access = json!({"permission": "Read", "namespaces": {"selector": {"matchLabel": {"a": "b"}}}});
    let object = specifications()[2].object(&json!({"spec": {"access": [access]}}));
    let answer = admission.ask(&object).await.unwrap_err();
    assert!(answer.contains("a selector has matchLabels alone"), "{answer}");
}
