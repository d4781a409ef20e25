//! `AbejaConnection` and `ClusterAbejaConnection`: how to reach an organization at the remote, and who may.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, rules};

/// A connection to an organization at the ABEJA Platform, for the `SecretVersion`s of its own namespace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "secrets.abeja.io",
    version = "v1alpha1",
    kind = "AbejaConnection",
    namespaced,
    status = "ConnectionStatus",
    shortname = "abejaconn",
    category = "abeja",
    derive = "PartialEq",
    derive = "Default",
    doc = "A connection to an organization at the ABEJA Platform, for its own namespace.",
    selectable = ".spec.organizationId",
    printcolumn(name = "Organization", type_ = "string", json_path = ".spec.organizationId"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    validation = rules::NAME_LENGTH
)]
#[x_kube(validation = rules::URL_IMMUTABLE)]
#[serde(rename_all = "camelCase")]
pub struct AbejaConnectionSpec {
    /// Base URL of the remote. Absent: the public one. Must be one of the operator's allowed endpoints. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = rules::URL))]
    pub url: Option<String>,
    /// Organization id. Quote it in YAML. Immutable.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::REMOTE_ID))]
    #[x_kube(validation = rules::ORGANIZATION_IMMUTABLE)]
    pub organization_id: String,
    /// The credential: exactly one of the kinds.
    pub auth: Auth,
    /// Certificates to trust for this connection beside the system's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
    /// How long one request may take, in seconds, from 1 to 120. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = rules::LONGEST_TIMEOUT))]
    pub timeout_seconds: Option<i32>,
    /// How often a failed request is tried again, from 0 to 10. Default 5. A create is never sent twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: Option<i32>,
    /// How many requests the operator sends through this connection. Absent: as many as the remote bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// A connection to an organization at the ABEJA Platform, for the namespaces that its `access` rules name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "secrets.abeja.io",
    version = "v1alpha1",
    kind = "ClusterAbejaConnection",
    status = "ConnectionStatus",
    shortname = "cabejaconn",
    category = "abeja",
    derive = "PartialEq",
    derive = "Default",
    doc = "A connection to an organization at the ABEJA Platform, for the namespaces that its access rules name.",
    selectable = ".spec.organizationId",
    printcolumn(name = "Organization", type_ = "string", json_path = ".spec.organizationId"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    validation = rules::NAME_LENGTH
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAbejaConnectionSpec {
    /// The connection itself. What it refers to lives in the operator's namespace for cluster resources.
    #[serde(flatten)]
    pub connection: AbejaConnectionSpec,
    /// Who may use it. A request is allowed when any rule allows it. Absent: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub access: Vec<AccessRule>,
}

/// The credential of a connection: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = rules::ONE_CREDENTIAL)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// A platform token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAuth>,
    /// A user: a Secret with the keys `userId` and `personalAccessToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<SecretAuth>,
    /// A data source: a Secret with the keys `datasourceId` and `datasourceSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datasource: Option<SecretAuth>,
}

/// A credential that is one key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TokenAuth {
    /// The Secret, and the key that holds the token.
    pub secret_ref: TokenSecretRef,
}

/// A Secret that holds a token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TokenSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::OBJECT_NAME))]
    pub name: String,
    /// Key in the Secret's data. Default `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::DATA_KEY))]
    pub key: Option<String>,
}

/// A credential that is a Secret with well-known keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SecretAuth {
    /// The Secret.
    pub secret_ref: SecretNameRef,
}

/// A Secret by name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SecretNameRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::OBJECT_NAME))]
    pub name: String,
}

/// Where the certificates to trust are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// `ConfigMap` or `Secret`.
    pub kind: CaBundleKind,
    /// The object's name and key.
    #[serde(flatten)]
    pub key_ref: SecretKeyRef,
}

/// Kinds of object that can hold certificates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CaBundleKind {
    /// A `ConfigMap`.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A budget of requests.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests in a minute. Absent: no limit is set, and `burst` means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60000))]
    pub requests_per_minute: Option<i32>,
    /// How many of them may come at once. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub burst: Option<i32>,
}

/// One rule of who may use a cluster connection, and for what.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// The namespaces that may use the connection.
    pub namespaces: NamespaceRule,
    /// `Read` follows versions. `ReadWrite` also creates, switches and deletes them.
    pub permission: Permission,
    /// The secrets that may be used. Absent: every secret of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 64), regex(pattern = rules::REMOTE_ID)))]
    pub secret_ids: Option<Vec<String>>,
}

/// Namespaces, by name or by label: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = rules::NAMES_OR_SELECTOR)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceRule {
    /// These namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63), regex(pattern = rules::NAMESPACE_NAME))
    )]
    pub names: Option<Vec<String>>,
    /// Namespaces with all the labels of `matchLabels`. `selector: {}` is every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::namespace_selector")]
    #[x_kube(validation = rules::MATCH_LABELS_ONLY, validation = rules::SELECTOR_KEYS)]
    pub selector: Option<NamespaceSelector>,
}

/// A selector of namespaces by label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What a rule allows.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Permission {
    /// Follow versions.
    #[default]
    Read,
    /// Follow, create, switch and delete versions.
    ReadWrite,
}

/// How resources are refreshed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RefreshMode {
    /// By looks over the pages of the organization's secrets.
    #[default]
    ByPage,
    /// Each secret by itself.
    BySecret,
}

/// How many requests the remote is sent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RequestBudget {
    /// Requests in a minute: the `rateLimit` that is set, or less, where the remote was found to bear less. What is found
    /// changes as the remote does; here it is within a fifth of it. With shards, those of the shard that speaks for the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// Until when the remote asked to be sent nothing (429, `Retry-After`), where that is for more than some seconds. In RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<String>,
}

/// What the operator knows of a connection. Nobody else writes it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the annotation `secrets.abeja.io/reconcile-requested-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// How the resources of the connection's organization are refreshed: `ByPage`, a hundred secrets with one request, or
    /// `BySecret`, one by one, where the credential may not list the organization's secrets, they are far more than are used
    /// here, or the list fails again and again. Absent where nothing was refreshed yet, or Secrets are not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RefreshMode")]
    pub refresh: Option<RefreshMode>,
    /// How many requests the remote is sent: within `rateLimit`, and within what it was found to bear by all who use the same URL
    /// and organization. Absent where nothing limits them: `rateLimit` is not set, and the remote asked nobody for patience within the
    /// last hour, or since the operator's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RequestBudget>,
    /// What is so, and what to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
