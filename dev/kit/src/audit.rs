//! Who asked the apiserver for what: its audit log, level Metadata.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Every completed request, with no body: bodies hold secrets.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
";

/// One completed request. A watch completes when it ends.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// Such as `system:serviceaccount:ns:name`; empty when not authenticated.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The API group, empty for the core.
    pub group: String,
    /// The plural name, such as `secrets`; empty for URLs that name none.
    pub resource: String,
    /// Such as `status`; else empty.
    pub subresource: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The object's name; empty for lists, and for creates that generate it.
    pub name: String,
    /// The HTTP status.
    pub code: u16,
    /// Path and query.
    pub uri: String,
    /// The client's user agent.
    pub user_agent: String,
    /// Whether authorization refused it. A refusal by admission, such as a
    /// create in a namespace that is going away, has the same status but is none.
    pub denied: bool,
}

impl AuditEvent {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// Requests, narrowed step by step: `audit.user(u).verb("create").len()`.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    events: Vec<AuditEvent>,
}

impl Audit {
    /// The events that are left, in the order of their completion.
    pub fn events(&self) -> &[AuditEvent] {
        &self.events
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Keeps those for which `keep` is true.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&AuditEvent) -> bool) -> Self {
        self.events.retain(keep);
        self
    }

    /// Keeps those of a user, by full name.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.filter(|event| event.user == user)
    }

    /// Keeps those of a ServiceAccount.
    #[must_use]
    pub fn service_account(self, namespace: &str, name: &str) -> Self {
        self.user(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// Keeps those with a verb.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        self.filter(|event| event.verb == verb)
    }

    /// Keeps those of a resource, by plural name, subresources included.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        self.filter(|event| event.resource == resource)
    }

    /// Keeps those in a namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.filter(|event| event.namespace == namespace)
    }

    /// Keeps those answered with a status.
    #[must_use]
    pub fn code(self, code: u16) -> Self {
        self.filter(|event| event.code == code)
    }

    /// Keeps those that ask for a change.
    #[must_use]
    pub fn writes(self) -> Self {
        self.filter(AuditEvent::is_write)
    }

    /// Keeps those that authorization refused.
    #[must_use]
    pub fn denied(self) -> Self {
        self.filter(|event| event.denied)
    }
}

/// A place in the log: what comes after it happened later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark(usize);

/// The audit log of one control plane.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place that the log has reached. A request whose answer has just
    /// arrived may still come after it.
    pub fn mark(&self) -> Result<Mark> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(Mark(usize::try_from(metadata.len())?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Mark(0)),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything since `mark`; [`Mark::default`] is the beginning.
    pub fn since(&self, mark: Mark) -> Result<Audit> {
        let text =
            fs::read(&self.path).with_context(|| format!("cannot read the audit log {}", self.path.display()))?;
        parse(after(&text, mark))
    }
}

/// What comes after a mark. One that was set within a line, while the line was being written, comes before the next one.
fn after(text: &[u8], Mark(at): Mark) -> &[u8] {
    let within = at > 0 && text.get(at - 1).is_some_and(|byte| *byte != b'\n');
    let rest = text.get(at..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if within => &rest[end + 1..],
        None if within => &[],
        _ => rest,
    }
}

fn parse(text: &[u8]) -> Result<Audit> {
    let events = text
        .split_inclusive(|byte| *byte == b'\n')
        // The last line may be half written.
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| Ok(AuditEvent::from(serde_json::from_slice::<Wire>(line)?)))
        .collect::<Result<_>>()
        .context("a line of the audit log is no event")?;
    Ok(Audit { events })
}

/// The parts of audit.k8s.io/v1 that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    user: User,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize, Default)]
struct Annotations {
    #[serde(rename = "authorization.k8s.io/decision", default)]
    decision: String,
}

impl From<Wire> for AuditEvent {
    fn from(wire: Wire) -> Self {
        Self {
            user: wire.user.username,
            verb: wire.verb,
            group: wire.object_ref.api_group,
            resource: wire.object_ref.resource,
            subresource: wire.object_ref.subresource,
            namespace: wire.object_ref.namespace,
            name: wire.object_ref.name,
            code: wire.response_status.code,
            uri: wire.request_uri,
            user_agent: wire.user_agent,
            denied: wire.annotations.decision == "forbid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_within_a_line_is_before_the_next_one() {
        let text = b"one\ntwo\nthree";
        for (at, expected) in [
            (0, "one\ntwo\nthree"),
            (2, "two\nthree"),
            (3, "two\nthree"),
            (4, "two\nthree"),
            (10, ""),
            (13, ""),
            (99, ""),
        ] {
            assert_eq!(after(text, Mark(at)), expected.as_bytes(), "{at}");
        }
    }

    #[test]
    fn a_half_written_last_line_is_left_for_later() {
        let line = r#"{"verb":"get","requestURI":"/x","user":{"username":"u"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}}"#;
        let audit = parse(format!("{line}\n{}", &line[..20]).as_bytes()).unwrap();
        assert_eq!(audit.len(), 1);
        assert_eq!(audit.clone().user("u").code(403).denied().len(), 1);
        assert!(audit.writes().is_empty());
    }
}
