//! What admission refuses beyond the shape of a resource: every CEL rule with the message that a user reads, the patterns,
//! and the schemas that a Rust type cannot express. It decides nothing at run time.
//!
//! A rule sees one object, and of its metadata the name alone. What depends on a namespace, an annotation, or another object
//! is a condition, not a rule.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A CEL expression, and what is said when it is false.
type Rule = (&'static str, &'static str);

/// Id of an organization, secret or version at the remote. It leaves out `.` and `+`, so that no number in exponent form
/// passes for an id.
pub(super) const REMOTE_ID: &str = "^[A-Za-z0-9_-]+$";

/// Name of a Kubernetes object (a DNS subdomain).
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Name of a namespace (a DNS label).
pub(super) const NAMESPACE_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Key in the data of a Secret or `ConfigMap`. Kubernetes refuses `.`, and keys that begin with `..`.
pub(super) const DATA_KEY: &str = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

/// A top-level key, or a JSON Pointer where it begins with `/`.
pub(super) const PROPERTY: &str = "^([^/]|(/([^~/]|~[01])*)+$)";

/// Base URL of a remote: no user, path, query or fragment.
pub(super) const URL: &str = r"^https?://[^/?#@\s\\]+/?$";

/// The longest that one request to the remote may take, in seconds. An intent records what a connection says, so both end here.
pub(super) const LONGEST_TIMEOUT: i32 = 120;

/// Value of a label.
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

// Events are named after the object, with a suffix of 17 characters, and an object's name ends at 253. The rest is room.
pub(super) const NAME_LENGTH: Rule =
    ("self.metadata.name.size() <= 200", "metadata.name must have at most 200 characters");

// --- SecretVersion ---

pub(super) const MANAGED_OR_OBSERVED: Rule = (
    "has(self.valueFrom) != has(self.versionRef)",
    "set exactly one of valueFrom (managed: new versions are made from a source) and versionRef (observed: an existing version is followed)",
);

pub(super) const NO_SWITCH: Rule = (
    "has(self.valueFrom) == has(oldSelf.valueFrom)",
    "a resource cannot change between managed (valueFrom) and observed (versionRef): make another one",
);

pub(super) const REMOTE_REF_IMMUTABLE: Rule =
    ("self == oldSelf", "remoteRef is immutable: make another resource for another secret");

pub(super) const ONE_SECRET: Rule =
    ("has(self.secretId) != has(self.secretName)", "set exactly one of secretId and secretName");

pub(super) const ONE_SOURCE: Rule = ("has(self.secretKeyRef)", "valueFrom needs secretKeyRef");

pub(super) const ONE_VERSION: Rule =
    ("[has(self.id), has(self.number), has(self.latest)].exists_one(x, x)", "set exactly one of id, number and latest");

pub(super) const LATEST_HAS_NO_STATE: Rule = (
    "!has(self.state) || !self.?versionRef.?latest.hasValue()",
    "state cannot be held on versionRef.latest, which moves from version to version: name one by id or number, or leave state out",
);

pub(super) const OBSERVED_HAS_NO_DELETION_POLICY: Rule = (
    "!has(self.versionRef) || !has(self.deletionPolicy)",
    "deletionPolicy needs valueFrom: an observed version is never deleted",
);

pub(super) const OBSERVED_DOES_SOMETHING: Rule = (
    "!has(self.versionRef) || has(self.state) || self.?target.?creationPolicy.orValue('Owner') != 'None'",
    "this resource would do nothing: with versionRef and creationPolicy None, set state, or let it write a target",
);

pub(super) const ON_CHANGE_HAS_NO_INTERVAL: Rule = (
    "self.?refreshPolicy.orValue('Periodic') != 'OnChange' || !has(self.refreshInterval)",
    "refreshInterval is for refreshPolicy Periodic: leave it out with OnChange",
);

pub(super) const INTERVAL_RANGE: Rule = (
    "duration(self) >= duration('5s') && duration(self) <= duration('720h')",
    "refreshInterval must be from 5s to 720h",
);

pub(super) const SOURCE_IS_NOT_TARGET: Rule = (
    "!has(self.spec.valueFrom) || !has(self.spec.valueFrom.secretKeyRef) \
     || self.spec.?target.?creationPolicy.orValue('Owner') == 'None' \
     || self.spec.valueFrom.secretKeyRef.name != self.spec.?target.?name.orValue(self.metadata.name) \
     || !(has(self.spec.target) && has(self.spec.target.data) \
     ? self.spec.target.data.exists(d, d.key == self.spec.valueFrom.secretKeyRef.key) \
     : self.spec.valueFrom.secretKeyRef.key == self.spec.?target.?key.orValue('value'))",
    "the source and the target are the same key of the same Secret: set target.name to another Secret, or target.creationPolicy to None",
);

pub(super) const TARGET_TYPE_IMMUTABLE: Rule = (
    "(has(self.spec.target) && has(self.spec.target.type) ? self.spec.target.type : 'Opaque') \
     == (has(oldSelf.spec.target) && has(oldSelf.spec.target.type) ? oldSelf.spec.target.type : 'Opaque') \
     || (has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) \
     != (has(oldSelf.spec.target) && has(oldSelf.spec.target.name) ? oldSelf.spec.target.name : oldSelf.metadata.name)",
    "the type of a Secret cannot be changed: set target.name to another Secret together with target.type",
);

// --- the target ---

pub(super) const KEY_OR_DATA: Rule = (
    "!has(self.key) || !has(self.data)",
    "set key (the whole value under one key) or data (properties of a JSON value), not both",
);

pub(super) const MERGE_ADDS_KEYS_ONLY: Rule = (
    "self.?creationPolicy.orValue('Owner') != 'Merge' || !(has(self.type) || has(self.labels) || has(self.annotations))",
    "Merge adds keys to a Secret that somebody else made: leave out type, labels and annotations",
);

pub(super) const TYPE_NOT_PRIVILEGED: Rule = (
    "!has(self.type) || !(self.type in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token'] \
     || self.type.startsWith('helm.sh/'))",
    "this type gives its Secret a power of its own (a service account token, a bootstrap token, a Helm release): use another type",
);

pub(super) const TLS_KEYS: Rule = (
    "self.?type.orValue('') != 'kubernetes.io/tls' \
     || (has(self.data) && ['tls.crt', 'tls.key'].all(k, self.data.exists(d, d.key == k)))",
    "type kubernetes.io/tls needs the keys tls.crt and tls.key in data",
);

pub(super) const DOCKER_CONFIG_JSON_KEY: Rule = (
    "self.?type.orValue('') != 'kubernetes.io/dockerconfigjson' || self.?key.orValue('') == '.dockerconfigjson' \
     || (has(self.data) && self.data.exists(d, d.key == '.dockerconfigjson'))",
    "type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson, as key or in data",
);

pub(super) const DOCKER_CFG_KEY: Rule = (
    "self.?type.orValue('') != 'kubernetes.io/dockercfg' || self.?key.orValue('') == '.dockercfg' \
     || (has(self.data) && self.data.exists(d, d.key == '.dockercfg'))",
    "type kubernetes.io/dockercfg needs the key .dockercfg, as key or in data",
);

pub(super) const BASIC_AUTH_KEY: Rule = (
    "self.?type.orValue('') != 'kubernetes.io/basic-auth' || self.?key.orValue('') in ['username', 'password'] \
     || (has(self.data) && self.data.exists(d, d.key in ['username', 'password']))",
    "type kubernetes.io/basic-auth needs the key username or password, as key or in data",
);

pub(super) const SSH_AUTH_KEY: Rule = (
    "self.?type.orValue('') != 'kubernetes.io/ssh-auth' || self.?key.orValue('') == 'ssh-privatekey' \
     || (has(self.data) && self.data.exists(d, d.key == 'ssh-privatekey'))",
    "type kubernetes.io/ssh-auth needs the key ssh-privatekey, as key or in data",
);

pub(super) const METADATA_KEYS: Rule = (
    "self.all(k, !format.qualifiedName().validate(k).hasValue())",
    "each key must be a qualified name, such as team or example.com/team",
);

pub(super) const METADATA_KEYS_OF_OTHERS: Rule = (
    "self.all(k, !(k.startsWith('argocd.argoproj.io/') || k.contains('.toolkit.fluxcd.io/') || k.startsWith('helm.sh/') \
     || k.startsWith('secrets.abeja.io/') || k in ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by', \
     'kubernetes.io/service-account.name']))",
    "keys by which other tools act on or prune a Secret are refused: argocd.argoproj.io/, *.toolkit.fluxcd.io/, helm.sh/, \
     secrets.abeja.io/, app.kubernetes.io/instance, app.kubernetes.io/managed-by, kubernetes.io/service-account.name",
);

// --- connections ---

pub(super) const URL_IMMUTABLE: Rule = (
    "has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",
    "url is immutable: make another connection for another remote",
);

pub(super) const ORGANIZATION_IMMUTABLE: Rule =
    ("self == oldSelf", "organizationId is immutable: make another connection for another organization");

pub(super) const ONE_CREDENTIAL: Rule = (
    "[has(self.token), has(self.user), has(self.datasource)].exists_one(x, x)",
    "set exactly one of token, user and datasource",
);

pub(super) const NAMES_OR_SELECTOR: Rule = (
    "has(self.names) != has(self.selector)",
    "set exactly one of names and selector (selector: {} is every namespace)",
);

pub(super) const MATCH_LABELS_ONLY: Rule =
    ("self.all(k, k == 'matchLabels')", "a selector has matchLabels alone: write further rules instead of expressions");

pub(super) const SELECTOR_KEYS: Rule = (
    "self.all(k, self[k].all(l, !format.qualifiedName().validate(l).hasValue()))",
    "each key of matchLabels must be a qualified name, such as team or example.com/team",
);

// --- schemas ---

/// Labels of a Secret, with bounds: CEL must be able to tell what a rule over them can cost.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
    })
}

/// Annotations of a Secret. Together they stay below the 256 KiB that Kubernetes allows.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}

/// A selector as a map from any name to labels, and a rule that admits `matchLabels` alone. As a struct, the server would
/// drop a misspelt or unsupported field without a word, and what is left, `{}`, means every namespace.
pub(super) fn namespace_selector(generate: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 1,
        "additionalProperties": labels(generate),
    })
}
