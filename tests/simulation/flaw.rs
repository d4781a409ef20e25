//! Bugs put in on purpose, between the operator and its world, to see that they are found.

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use crate::world::CANARY;

/// What is wrong with the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A target is written empty.
    Blank,
    /// A create whose answer was lost is sent again at once.
    BlindRetry,
    /// A list is not read to its end.
    HalfList,
    /// A value is in a message.
    Leak,
    /// A process that cannot renew its Lease goes on.
    LeaseNotHeeded,
    /// The finalizer is taken for written, and is not.
    NoFinalizer,
    /// An intent is taken for written, and is not.
    NoIntent,
    /// What is written to a resource is written over whatever is there.
    NoPrecondition,
    /// A create is sent again before the remote shows what it accepted.
    ShortGrace,
    /// A state is taken for set, and is not.
    StateIgnored,
    /// What others wrote to a target is taken off.
    Trample,
    /// A shard looks after what is others' too.
    Everywhere,
    /// A shard heeds its own Lease, and not that of its division.
    OwnLeaseOnly,
}

impl Flaw {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Blank,
        Self::BlindRetry,
        Self::HalfList,
        Self::Leak,
        Self::LeaseNotHeeded,
        Self::NoFinalizer,
        Self::NoIntent,
        Self::NoPrecondition,
        Self::ShortGrace,
        Self::StateIgnored,
        Self::Trample,
    ];

    /// Those that can show only where the work is divided.
    pub(crate) const OF_SHARDS: [Self; 2] = [Self::Everywhere, Self::OwnLeaseOnly];

    /// Whether it shows only where several things go wrong together.
    pub(crate) fn is_subtle(self) -> bool {
        self == Self::ShortGrace
    }

    /// The body that a write to the apiserver is sent with.
    pub(crate) fn write(self, head: &Parts, body: Bytes) -> Bytes {
        let path = head.uri.path();
        let (ours, status) = (path.contains("/secretversions/"), path.ends_with("/status"));
        let target = path.contains("/secrets") && head.method != Method::DELETE;
        match self {
            Self::NoFinalizer if ours && !status => {
                changed(&body, |patch| drop_from(&mut patch["metadata"], "finalizers"))
            }
            Self::NoIntent if ours && status => changed(&body, |patch| {
                if patch["status"]["create"].is_object() {
                    drop_from(&mut patch["status"], "create");
                }
            }),
            Self::NoPrecondition if ours => changed(&body, |patch| {
                drop_from(&mut patch["metadata"], "uid");
                drop_from(&mut patch["metadata"], "resourceVersion");
            }),
            Self::Leak if ours && status => changed(&body, |patch| {
                for condition in patch["status"]["conditions"].as_array_mut().into_iter().flatten() {
                    condition["message"] = json!(format!("the value is {CANARY}"));
                }
            }),
            Self::Blank if target => changed(&body, |secret| secret["data"] = json!({"value": ""})),
            Self::Trample if target && head.method == Method::PATCH => {
                changed(&body, |secret| secret["metadata"]["labels"] = Value::Null)
            }
            _ => body,
        }
    }

    /// What the operator takes for the answer to it.
    pub(crate) fn written(self, sent: &Bytes, answer: Bytes) -> Bytes {
        let Ok(sent) = serde_json::from_slice::<Value>(sent) else { return answer };
        match self {
            Self::NoIntent if sent["status"]["create"].is_object() => {
                changed(&answer, |cr| cr["status"]["create"] = sent["status"]["create"].clone())
            }
            _ => answer,
        }
    }

    /// The answer to a list of versions.
    pub(crate) fn list(self, body: Bytes) -> Bytes {
        if self != Self::HalfList {
            return body;
        }
        changed(&body, |list| {
            if let Some(versions) = list["versions"].as_array_mut() {
                versions.truncate(1);
                list["pagination"]["count"] = Value::from(1.min(list["versions"].as_array().map_or(0, Vec::len)));
            }
        })
    }

    /// What goes to the remote in place of a request, and the state that its answer then seems to tell of.
    pub(crate) fn state(self, request: &mut http::Request<axum::body::Bytes>) -> Option<Value> {
        if self != Self::StateIgnored || request.method() != Method::PATCH {
            return None;
        }
        let wanted: Value = serde_json::from_slice(request.body()).ok()?;
        *request.method_mut() = Method::GET;
        *request.body_mut() = Bytes::new();
        Some(wanted["status"].clone())
    }
}

/// A JSON text with something changed.
pub(crate) fn changed(body: &Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    change(&mut json);
    json.to_string().into()
}

fn drop_from(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}
