//! Connections of a namespace: credentials, certificates, endpoints, and who still needs them.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use secret_version_operator::api::v1alpha1::{AbejaConnection, SecretVersion};
use secret_version_operator::domain::condition::{self, kind};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::scene::{CONNECTION, Conditions, Remote, SOON, Scene, condition_is};
use crate::world::{self, DATASOURCE, OTHER_ORGANIZATION, OTHER_SECRET, USER};

/// Another connection to the simulator, with something changed.
async fn connection(scene: &Scene, name: &str, spec: Value) {
    let mut all = world::connection(&scene.world.simulator);
    crate::admission::merge(&mut all, &spec);
    scene.create::<AbejaConnection>(name, json!({"spec": all})).await;
}

/// What makes a resource use it.
fn through(name: &str) -> Value {
    json!({"connectionRef": {"kind": "AbejaConnection", "name": name}})
}

/// Waits until a connection is not Ready for this reason, and gives the message.
async fn fails(scene: &Scene, name: &str, reason: Reason) -> String {
    let is_so = |c: &AbejaConnection| condition_is(c, "False", Some(reason));
    let connection = scene.until(name, &format!("fails with {}", reason.as_str()), is_so).await;
    condition::get(connection.conditions(), kind::READY).unwrap().message.clone()
}

#[tokio::test]
async fn each_kind_of_credential_is_presented_as_the_remote_knows_it() {
    let scene = Scene::begin("credentials").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    let ((user, user_token), (datasource, datasource_secret)) = (USER, DATASOURCE);
    scene.secret("user", &[("userId", user.as_bytes()), ("personalAccessToken", user_token.as_bytes())]).await;
    let both = [("datasourceId", datasource.as_bytes()), ("datasourceSecret", datasource_secret.as_bytes())];
    scene.secret("datasource", &both).await;
    for kind in ["user", "datasource"] {
        connection(&scene, kind, json!({"auth": {"token": null, kind: {"secretRef": {"name": kind}}}})).await;
        let name = format!("by-{kind}");
        scene.observed(&name, &remote, json!({"latest": "Active"}), through(kind)).await;
        scene.ready(&name).await;
    }
    scene.observed("all", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.ready("all").await;
    let mut presented: Vec<_> = remote.requests().await.iter().map(|entry| entry["credential"].clone()).collect();
    presented.dedup();
    assert_eq!(presented, ["user", "datasource", "all"]);
    scene.end().await;
}

#[tokio::test]
async fn a_wrong_credential_is_said_to_be_so_and_replaced_without_a_restart() {
    let scene = Scene::begin("wrong").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;
    let pid = scene.world.operator.process().pid();

    scene.secret("token", &[("token", b"canary-wrong")]).await;
    let replaced = async || {
        scene.sync("db").await;
        anyhow::ensure!(condition_is(&scene.get::<SecretVersion>("db").await.unwrap(), "False", None), "still served");
        Ok(())
    };
    kit::eventually(SOON, "the wrong credential is in use", replaced).await.unwrap();
    scene.secret("source", &[("key", b"canary-2")]).await;
    let failure = scene.fails("db", Reason::Unauthorized).await;
    assert!(!failure.stalled);
    scene.holds("db", &[("value", b"canary-1")]).await;

    scene.secret("token", &[("token", world::TOKEN.as_bytes())]).await;
    scene.serves("db", 2).await;
    scene.holds("db", &[("value", b"canary-2")]).await;
    assert_eq!(remote.numbers().await, [(1, true), (2, true)]);
    assert_eq!(scene.world.operator.process().pid(), pid);
    scene.end().await;
}

#[tokio::test]
async fn a_missing_credential_is_waited_for_and_the_last_value_stays() {
    let scene = Scene::begin("gone").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    scene.remove::<Secret>("token").await;
    let message = fails(&scene, CONNECTION, Reason::CredentialNotFound).await;
    assert!(message.contains("token") && message.contains(&scene.namespace), "{message}");
    let failure = scene.fails("app", Reason::CredentialNotFound).await;
    assert!(!failure.stalled);
    scene.holds("app", &[("value", b"canary-1")]).await;

    remote.make(b"canary-2").await;
    scene.secret("token", &[("other", b"canary-other")]).await;
    fails(&scene, CONNECTION, Reason::CredentialNotFound).await;
    scene.secret("token", &[("token", world::TOKEN.as_bytes())]).await;
    scene.ready("app").await;
    let ready = |c: &AbejaConnection| condition_is(c, "True", None);
    scene.until(CONNECTION, "is Ready", ready).await;
    scene.end().await;
}

#[tokio::test]
async fn a_connection_that_does_not_exist_yet_is_waited_for() {
    let scene = Scene::begin("later").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, through("later")).await;
    let failure = scene.fails("db", Reason::ConnectionNotFound).await;
    assert!(!failure.stalled && failure.message.contains("later"), "{}", failure.message);
    connection(&scene, "later", json!({})).await;
    scene.serves("db", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_is_never_called() {
    let scene = Scene::begin("endpoint").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    let allowed = scene.world.simulator.url();
    let (host, port) = allowed.rsplit_once(':').unwrap();
    let port = format!("{host}:{}", port.parse::<u16>().unwrap() - 1);
    for (name, url) in [("public", None), ("port", Some(port))] {
        connection(&scene, name, json!({"url": url})).await;
        let message = fails(&scene, name, Reason::EndpointNotAllowed).await;
        assert!(message.contains("--allow-endpoint"), "{message}");
        scene.observed(name, &remote, json!({"latest": "Active"}), through(name)).await;
        scene.fails(name, Reason::EndpointNotAllowed).await;
    }
    assert_eq!(remote.operations().await, [""; 0]);
    scene.end().await;
}

#[tokio::test]
async fn certificates_are_waited_for_and_must_be_certificates() {
    let scene = Scene::begin("ca").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    connection(&scene, "ca", json!({"caBundleRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}})).await;
    scene.observed("app", &remote, json!({"latest": "Active"}), through("ca")).await;
    fails(&scene, "ca", Reason::CaBundleInvalid).await;
    scene.fails("app", Reason::CaBundleInvalid).await;
    // ConfigMaps are not watched: a sync that is asked for reads them at once.
    let ask = |n: u8| json!({"metadata": {"annotations": {"secrets.abeja.io/reconcile-requested-at": n.to_string()}}});
    let asked =
        |n: u8| move |c: &AbejaConnection| c.status.as_ref().unwrap().last_handled_reconcile_at == Some(n.to_string());
    scene.create::<ConfigMap>("ca", json!({"data": {"ca.crt": "not a certificate"}})).await;
    scene.patch::<AbejaConnection>("ca", ask(1)).await;
    scene.until("ca", "has done its sync", asked(1)).await;
    fails(&scene, "ca", Reason::CaBundleInvalid).await;

    let certificate = rcgen::generate_simple_self_signed(vec!["remote.example.com".to_owned()]).unwrap();
    scene.patch::<ConfigMap>("ca", json!({"data": {"ca.crt": certificate.cert.pem()}})).await;
    scene.patch::<AbejaConnection>("ca", ask(2)).await;
    scene.until("ca", "is Ready", |c: &AbejaConnection| condition_is(c, "True", None)).await;
    scene.serves("app", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn a_connection_stays_for_as_long_as_somebody_must_clean_up_through_it() {
    let scene = Scene::begin("needed").await;
    let (remote, second) = (scene.remote().await, scene.remote().await);
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.managed("retained", &second, json!({})).await;
    scene.serves("db", 1).await;
    scene.serves("retained", 1).await;

    scene.delete::<AbejaConnection>(CONNECTION).await;
    let message = fails(&scene, CONNECTION, Reason::ConnectionDeleting).await;
    let both = ["db", "retained"].map(|name| format!("{}/{name}", scene.namespace));
    assert!(both.iter().all(|name| message.contains(name)) && message.contains("Retain"), "{message}");
    // Nothing new begins through it.
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.fails("db", Reason::ConnectionDeleting).await;
    scene.holds("db", &[("value", b"canary-1")]).await;

    scene.edit("retained", json!({"deletionPolicy": "Retain"})).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, []);
    scene.gone::<AbejaConnection>(CONNECTION).await;
    scene.remove::<SecretVersion>("retained").await;
    assert_eq!(second.numbers().await, [(1, true)]);
    scene.end().await;
}

#[tokio::test]
async fn a_connection_that_only_serves_observed_resources_goes_at_once() {
    let scene = Scene::begin("free").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    scene.remove::<AbejaConnection>(CONNECTION).await;
    scene.fails("app", Reason::ConnectionNotFound).await;
    scene.holds("app", &[("value", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn of_two_managed_resources_on_one_remote_secret_the_first_goes_on() {
    let scene = Scene::begin("claimed").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.secret("second", &[("key", b"canary-second")]).await;
    scene.managed("first", &remote, json!({})).await;
    scene.serves("first", 1).await;
    scene
        .managed("second", &remote, json!({"valueFrom": {"secretKeyRef": {"name": "second"}}, "target": {"name": "t"}}))
        .await;
    let failure = scene.fails("second", Reason::SecretClaimed).await;
    assert!(failure.stalled && failure.message.contains(&format!("{}/first", scene.namespace)), "{}", failure.message);
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("first", 2).await;
    assert_eq!(remote.posts().await, 2);

    scene.remove::<SecretVersion>("first").await;
    scene.serves("second", 3).await;
    assert_eq!(remote.numbers().await, [(3, true)]);
    scene.end().await;
}

#[tokio::test]
async fn what_another_resource_serves_is_kept() {
    let scene = Scene::begin("in-use").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    let cr = scene.serves("db", 1).await;
    scene.observed("app", &remote, json!({"number": 1}), json!({})).await;
    scene.serves("app", 1).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true)]);
    let note = scene.told("db", Reason::VersionInUse).await;
    assert!(note.contains(&cr.status.unwrap().version_id.unwrap()), "{note}");
    scene.end().await;
}

#[tokio::test]
async fn a_resource_never_acts_in_another_place_than_the_one_it_began_in() {
    let scene = Scene::begin("place").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;
    connection(&scene, "elsewhere", json!({"organizationId": OTHER_ORGANIZATION})).await;
    scene.edit("db", through("elsewhere")).await;
    let before = remote.requests().await.len();
    let failure = scene.fails("db", Reason::PlaceChanged).await;
    assert!(failure.stalled && failure.message.contains(OTHER_ORGANIZATION), "{}", failure.message);
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.sync("db").await;
    scene.fails("db", Reason::PlaceChanged).await;
    assert_eq!(remote.requests().await.len(), before, "no remote call");

    scene.edit("db", through(CONNECTION)).await;
    scene.serves("db", 2).await;
    scene.end().await;
}

#[tokio::test]
async fn another_organization_can_be_named_through_a_connection_of_the_namespace() {
    let scene = Scene::begin("organization").await;
    let elsewhere = Remote::of(&scene.world.simulator, OTHER_SECRET);
    scene.secret("source", &[("key", b"canary-1")]).await;
    let organization = json!({"remoteRef": {"organizationId": OTHER_ORGANIZATION}});
    scene.managed("db", &elsewhere, organization).await;
    let cr = scene.serves("db", 1).await;
    assert_eq!(cr.status.unwrap().organization_id.as_deref(), Some(OTHER_ORGANIZATION));
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(elsewhere.numbers().await, []);
    scene.end().await;
}

#[tokio::test]
async fn a_create_that_the_remote_throttles_waits_and_comes_once() {
    let scene = Scene::begin("throttled").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    let fault = json!({
        "match": {"secret_id": remote.id, "operation": "create_version"}, "count": 1,
        "action": {"status": {"code": 429, "retry_after": 1}},
    });
    scene.world.simulator.add_fault(&fault).await.unwrap();
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;
    assert_eq!(remote.posts().await, 2);
    let [refused, created] = kit::eventually(SOON, "both are in the journal", async || {
        let mut posts = remote.requests().await;
        posts.retain(|entry| entry["operation"] == "create_version");
        <[Value; 2]>::try_from(posts).map_err(|_| anyhow::anyhow!("not yet"))
    })
    .await
    .unwrap();
    assert_eq!((&refused["status"], &created["status"]), (&json!(429), &json!(200)));
    let at = |entry: &Value| entry["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(&created).duration_since(at(&refused)) >= jiff::SignedDuration::from_secs(1));
    scene.end().await;
}
