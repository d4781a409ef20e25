//! `SecretVersion`: one remote secret's line of versions, made here or followed.
//!
//! An optional enum names its schema in `schemars(with)`: the schema of `Option` would show the enum's documentation in place
//! of the field's.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A version of a secret in the ABEJA Platform Secret Manager.
///
/// With `valueFrom` it is *managed*: the operator creates a remote version on each change of the source, holds its state,
/// and removes what it created when the resource goes. With `versionRef` it is *observed*: it follows versions that
/// somebody else makes. Both keep a native Secret holding the value that the remote serves.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[kube(
    group = "secrets.abeja.io",
    version = "v1alpha1",
    kind = "SecretVersion",
    namespaced,
    status = "SecretVersionStatus",
    shortname = "sv",
    category = "abeja",
    derive = "PartialEq",
    derive = "Default",
    doc = "A version of a secret in the ABEJA Platform Secret Manager, and the native Secret that holds its value.",
    selectable = ".spec.connectionRef.name",
    selectable = ".spec.remoteRef.secretId",
    selectable = ".spec.target.name",
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretId"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.version"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target.name", priority = 1),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1),
    printcolumn(
        name = "Last Change",
        type_ = "date",
        json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime",
        priority = 1
    ),
    validation = rules::NAME_LENGTH,
    validation = rules::SOURCE_IS_NOT_TARGET,
    validation = rules::TARGET_TYPE_IMMUTABLE
)]
#[x_kube(
    validation = rules::MANAGED_OR_OBSERVED,
    validation = rules::NO_SWITCH,
    validation = rules::LATEST_HAS_NO_STATE,
    validation = rules::OBSERVED_HAS_NO_DELETION_POLICY,
    validation = rules::OBSERVED_DOES_SOMETHING,
    validation = rules::ON_CHANGE_HAS_NO_INTERVAL
)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersionSpec {
    /// The connection to the remote: an `AbejaConnection` of the same namespace, or a `ClusterAbejaConnection`.
    pub connection_ref: ConnectionRef,
    /// The remote secret. Immutable: make another resource for another secret.
    #[x_kube(validation = rules::REMOTE_REF_IMMUTABLE)]
    pub remote_ref: RemoteRef,
    /// Where the value comes from. Makes this resource managed: a new version is created on each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
    /// Which existing version to follow. Makes this resource observed: nothing is ever created or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_ref: Option<VersionRef>,
    /// The state to hold the version in at the remote. Absent: `Active` where managed, left alone where observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VersionState")]
    pub state: Option<VersionState>,
    /// What becomes of the versions created by this resource when it is deleted: `Delete` (the default), `Deactivate`,
    /// or `Retain`. Managed only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DeletionPolicy")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// When to look at the remote: `Periodic` (the default), or `OnChange` of this resource or its source only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RefreshPolicy")]
    pub refresh_policy: Option<RefreshPolicy>,
    /// How often to look at the remote: hours, minutes and seconds such as `1h30m`, from `5s` to `720h`. Default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,7}[hms])+$"))]
    #[x_kube(validation = rules::INTERVAL_RANGE)]
    pub refresh_interval: Option<String>,
    /// The native Secret to write. Absent: one named like this resource, with the value under the key `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<Target>>,
    /// Stop acting and keep everything as it is, at the remote and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A reference to a connection.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default, Hash)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRef {
    /// `AbejaConnection` (of the same namespace) or `ClusterAbejaConnection`.
    pub kind: ConnectionKind,
    /// Name of the connection.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::OBJECT_NAME))]
    pub name: String,
}

/// The kinds of connection.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum ConnectionKind {
    /// A connection of one namespace.
    #[default]
    AbejaConnection,
    /// A connection of the cluster, opened to namespaces by its `access` rules.
    ClusterAbejaConnection,
}

/// A remote secret, by id or by name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = rules::ONE_SECRET)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// Organization id. Absent: the connection's. Another one than the connection's needs an `AbejaConnection`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::REMOTE_ID))]
    pub organization_id: Option<String>,
    /// Id of the secret. Quote it in YAML: an id is text, not a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::REMOTE_ID))]
    pub secret_id: Option<String>,
    /// Name of the secret. It is looked up once, and the id found is kept in status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub secret_name: Option<String>,
}

/// Where the value of a managed version comes from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = rules::ONE_SOURCE)]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom {
    /// A key of a Secret in the same namespace. Its bytes are sent as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::OBJECT_NAME))]
    pub name: String,
    /// Key in the object's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::DATA_KEY))]
    pub key: String,
}

/// Which existing version to follow: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = rules::ONE_VERSION)]
#[serde(rename_all = "camelCase")]
pub struct VersionRef {
    /// The version with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::REMOTE_ID))]
    pub id: Option<String>,
    /// The version with this number, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub number: Option<i64>,
    /// `Active`: the newest version that is active, followed as it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Latest")]
    pub latest: Option<Latest>,
}

/// Which versions count for `latest`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latest {
    /// Active versions only.
    Active,
}

/// The state of a version at the remote.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionState {
    /// The version is in use.
    Active,
    /// The version is switched off; it can be switched on again.
    Inactive,
}

/// What becomes of the created versions when the resource is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// They are deleted at the remote.
    #[default]
    Delete,
    /// They are deactivated at the remote.
    Deactivate,
    /// They stay as they are.
    Retain,
}

/// When to look at the remote.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RefreshPolicy {
    /// At every `refreshInterval`.
    #[default]
    Periodic,
    /// When this resource, its source or its target changes, or a sync is requested.
    OnChange,
}

/// The native Secret to write.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(
    validation = rules::KEY_OR_DATA,
    validation = rules::MERGE_ADDS_KEYS_ONLY,
    validation = rules::TYPE_NOT_PRIVILEGED,
    validation = rules::TLS_KEYS,
    validation = rules::DOCKER_CONFIG_JSON_KEY,
    validation = rules::DOCKER_CFG_KEY,
    validation = rules::BASIC_AUTH_KEY,
    validation = rules::SSH_AUTH_KEY
)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret. Absent: the name of the `SecretVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::OBJECT_NAME))]
    pub name: Option<String>,
    /// Key that holds the value. Default `value`. Use `data` instead for properties of a JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::DATA_KEY))]
    pub key: Option<String>,
    /// Type of the Secret. Default `Opaque`. It cannot be changed: name another target instead.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub type_: Option<String>,
    /// How the Secret belongs to this resource: `Owner` (the default: made here, goes with the resource), `Orphan` (made
    /// here, stays), `Merge` (keys are added to a Secret that somebody else made), or `None` (no Secret).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CreationPolicy")]
    pub creation_policy: Option<CreationPolicy>,
    /// Labels for the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::labels")]
    #[x_kube(validation = rules::METADATA_KEYS, validation = rules::METADATA_KEYS_OF_OTHERS)]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::annotations")]
    #[x_kube(validation = rules::METADATA_KEYS, validation = rules::METADATA_KEYS_OF_OTHERS)]
    pub annotations: BTreeMap<String, String>,
    /// Keys taken from properties of a JSON value, instead of the whole value under `key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub data: Vec<TargetData>,
}

/// One key of the target, taken from a property of a JSON value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TargetData {
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::DATA_KEY))]
    pub key: String,
    /// A top-level key of the JSON value, or a JSON Pointer (RFC 6901) where it begins with `/`. A string is written raw,
    /// anything else as compact JSON.
    #[schemars(length(min = 1, max = 512), regex(pattern = rules::PROPERTY))]
    pub property: String,
}

/// How the target belongs to the resource.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CreationPolicy {
    /// Created here, and removed with the resource.
    #[default]
    Owner,
    /// Created here, and left when the resource goes.
    Orphan,
    /// Keys are added to an existing Secret, never by force.
    Merge,
    /// No Secret is written.
    None,
}

/// What the operator knows and did. Nobody else writes it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersionStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Base URL of the remote that this resource lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Organization id at the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Secret id at the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<String>,
    /// Id of the version that the target holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Number of that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// State of that version at the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VersionState")]
    pub state: Option<VersionState>,
    /// When the remote last changed that version, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// How that version came to this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Origin")]
    pub origin: Option<Origin>,
    /// Keyed digest of the source's bytes at the last change that was carried through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The source as it was at that change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ObjectSeen>,
    /// The versions created or referenced by this resource, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Record>,
    /// The newest create: under way until a version in `history` names its id. Kept until the next one, so that a late
    /// outcome can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Box<Intent>>,
    /// The Secret as the operator last wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ObjectSeen>,
    /// The value of the annotation `secrets.abeja.io/reconcile-requested-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// What is so, and what to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How a version came to a resource.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Created by this resource.
    Created,
    /// Found at the remote with the same value, and used. Never deactivated or deleted.
    Referenced,
    /// Followed by `versionRef`.
    Observed,
}

/// A Kubernetes object as it was when it was last read or written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSeen {
    /// Name of the object.
    pub name: String,
    /// UID of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Resource version of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// One version that this resource created or referenced.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Id of the version.
    pub version_id: String,
    /// Number of the version.
    pub version: i64,
    /// How it came here.
    pub origin: Origin,
    /// Keyed digest of its bytes.
    pub digest: String,
    /// UID of the resource that recorded it. Another one's record is never acted on.
    pub uid: String,
    /// The remote secret it belongs to.
    pub place: String,
    /// When it was created, in the remote's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Id of the intent that it settled. Absent where the version was found without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_id: Option<String>,
}

/// A create that was decided and is not yet recorded. Written before the request is sent, so that no crash can hide it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Schema of this record.
    pub schema: i64,
    /// Id of this intent.
    pub id: String,
    /// UID of the resource that made it.
    pub uid: String,
    /// The remote secret it is for.
    pub place: String,
    /// The newest version that existed before.
    pub baseline: Baseline,
    /// Keyed digest of the bytes to send.
    pub digest: String,
    /// How often this change was sent, this attempt included.
    #[schemars(range(min = 1))]
    pub attempts: i64,
    /// How long one request may take, in seconds.
    #[schemars(range(min = 1, max = rules::LONGEST_TIMEOUT))]
    pub timeout_seconds: i64,
    /// When it was written. For people: no decision uses it.
    pub started_at: String,
    /// Whether the change was withdrawn before anything came of it, or what came of it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// The last intents that this one replaced, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierIntent>,
}

/// The newest version at the time of a list. Version 0 means that there was none.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// Highest version number.
    pub version: i64,
    /// Latest time of creation, in the remote's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// What is kept of an intent that was replaced.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EarlierIntent {
    /// Keyed digest of its bytes.
    pub digest: String,
    /// The newest version that existed before it.
    pub baseline: Baseline,
}
