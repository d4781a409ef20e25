//! Bugs put in on purpose, between the operator and its world, to see that they are found.

use bytes::Bytes;
use serde_json::Value;

/// What is wrong with the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A create whose answer was lost is sent again at once.
    BlindRetry,
    /// A list is not read to its end.
    HalfList,
    /// A process that cannot renew its Lease goes on.
    LeaseNotHeeded,
    /// The finalizer is taken for written, and is not.
    NoFinalizer,
}

impl Flaw {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::BlindRetry, Self::HalfList, Self::LeaseNotHeeded, Self::NoFinalizer];

    /// The body that a patch is sent with.
    pub(crate) fn patch(self, path: &str, body: Bytes) -> Bytes {
        let ours = path.contains("/secretversions/");
        match self {
            Self::NoFinalizer if ours && !path.ends_with("/status") => changed(&body, |patch| {
                if let Some(metadata) = patch["metadata"].as_object_mut() {
                    metadata.remove("finalizers");
                }
            }),
            _ => body,
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
}

fn changed(body: &Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    change(&mut json);
    json.to_string().into()
}
