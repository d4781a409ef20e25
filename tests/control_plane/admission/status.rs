//! A status is stored as it was written: a field that the definition lacks would be dropped without a word, and with it the
//! proof of what was created.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use secret_version_operator::api::v1alpha1::{
    Baseline, ConnectionStatus, EarlierIntent, Intent, ObjectSeen, Origin, Record, RefreshMode, RequestBudget,
    SecretVersion, SecretVersionStatus, VersionState,
};

use super::*;

const ID: &str = "3053595942757";
const TIME: &str = "2026-11-23T10:00:00Z";
/// Longer than any that are made.
const DIGEST: &str = "v1.0123456789abcdef.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn nothing_of_a_status_is_lost() {
    let admission = Admission::start().await.unwrap();
    let object = specifications()[0].object(&json!({"metadata": {"name": "whole-status"}, "spec": {"suspend": true}}));
    admission.store(&object).await.unwrap();
    let api: Api<SecretVersion> = Api::namespaced(admission.client.clone(), &admission.namespace);
    let status = whole_status();
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status("whole-status", &PatchParams::default(), &patch).await.unwrap();
    let stored = api.get("whole-status").await.unwrap();
    assert_eq!(stored.status, Some(status));

    let control_plane = ControlPlane::shared().await.unwrap();
    let get = ["get", "sv", "whole-status", "-n", &admission.namespace, "-o", "wide", "--no-headers"];
    let row = control_plane.kubectl(&get).await.unwrap().ok().unwrap();
    let row: Vec<_> = row.split_whitespace().collect();
    let [name, secret, version, state, ready, reason, _age, target, suspended, _change] = row[..] else {
        panic!("{row:?}")
    };
    assert_eq!([name, secret, version, state], ["whole-status", ID, "7", "Active"]);
    assert_eq!([ready, reason, target, suspended], ["True", "Synced", "db-password", "true"]);
}

#[tokio::test]
async fn nothing_of_a_connections_status_is_lost() {
    let admission = Admission::start().await.unwrap();
    for specification in &specifications()[1..] {
        let name = format!("{}-status", admission.namespace);
        admission.store(&specification.object(&json!({"metadata": {"name": name}}))).await.unwrap();
        let status = ConnectionStatus {
            observed_generation: Some(1),
            last_handled_reconcile_at: Some(TIME.into()),
            refresh: Some(RefreshMode::BySecret),
            budget: Some(RequestBudget { requests_per_minute: Some(600), throttled_until: Some(TIME.into()) }),
            conditions: vec![ready()],
        };
        let api = admission.api(&specification.kind);
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        let stored = api.get(&name).await.unwrap();
        assert_eq!(stored.data["status"], json!(status));
    }
}

/// Every field set, and a history longer than any that is kept.
fn whole_status() -> SecretVersionStatus {
    SecretVersionStatus {
        observed_generation: Some(1),
        url: Some("https://api.example.com".into()),
        organization_id: Some("1410000000000".into()),
        secret_id: Some(ID.into()),
        version_id: Some(ID.into()),
        version: Some(7),
        state: Some(VersionState::Active),
        updated_at: Some(TIME.into()),
        origin: Some(Origin::Created),
        digest: Some(DIGEST.into()),
        source: Some(seen("db-admin")),
        history: (1..=1000).map(record).collect(),
        create: Some(Box::new(Intent {
            schema: 1,
            id: ID.into(),
            uid: ID.into(),
            place: ID.into(),
            baseline: baseline(),
            digest: DIGEST.into(),
            attempts: 2,
            timeout_seconds: 30,
            started_at: TIME.into(),
            withdrawn: true,
            earlier: vec![EarlierIntent { digest: DIGEST.into(), baseline: baseline() }; 4],
        })),
        target: Some(seen("db-password")),
        last_handled_reconcile_at: Some(TIME.into()),
        conditions: vec![ready()],
    }
}

fn record(version: i64) -> Record {
    Record {
        version_id: ID.into(),
        version,
        origin: Origin::Created,
        digest: DIGEST.into(),
        uid: ID.into(),
        place: ID.into(),
        created_at: Some(TIME.into()),
        create_id: Some(ID.into()),
    }
}

fn baseline() -> Baseline {
    Baseline { version: 6, created_at: Some(TIME.into()) }
}

fn seen(name: &str) -> ObjectSeen {
    ObjectSeen { name: name.into(), uid: Some(ID.into()), resource_version: Some("12".into()) }
}

fn ready() -> Condition {
    Condition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: "Synced".into(),
        message: "version 7 is served".into(),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}
