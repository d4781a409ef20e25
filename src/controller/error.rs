//! Failures of the Kubernetes side, in the words of the rules.

use std::time::Duration;

use crate::domain::class::Class;
use crate::domain::observed::{Side, Trouble};
use crate::domain::reason::Reason;
use crate::remote;

/// Why a pass could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource is gone, or another one has its name.
    #[error("the resource is gone")]
    Gone,
    /// Somebody else wrote first.
    #[error("somebody else wrote first")]
    Conflict,
    /// A page of the remote may have the answer: the resource is woken when it is here.
    #[error("waiting for a page of the remote")]
    Waiting,
    /// Another shard looks after the resource.
    #[error("another shard looks after the resource")]
    Elsewhere,
    /// This process may not act any more.
    #[error("the lease is lost")]
    LeaseLost,
    /// The apiserver did not do what was asked.
    #[error("{op}: {}", describe(source))]
    Kube {
        /// What was asked for.
        op: &'static str,
        /// What came instead.
        source: Box<kube::Error>,
    },
    /// A pass did not come to rest.
    #[error("a pass did not come to rest after {0} steps")]
    Endless(usize),
    /// A pass took too long.
    #[error("a pass took longer than {0:?}")]
    Timeout(Duration),
    /// A pass panicked.
    #[error("a pass panicked")]
    Panic,
    /// The resource does not fit the schema.
    #[error("the resource cannot be read")]
    Unreadable,
}

impl Error {
    /// A failed call to the apiserver.
    pub fn kube(op: &'static str, source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            _ => Self::Kube { op, source: Box::new(source) },
        }
    }

    /// The kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Gone | Self::Conflict | Self::Elsewhere => Class::Conflict,
            Self::Waiting | Self::LeaseLost | Self::Timeout(_) => Class::Transient,
            Self::Kube { source, .. } => kube_class(source),
            Self::Endless(_) | Self::Panic => Class::Bug,
            Self::Unreadable => Class::Invalid,
        }
    }

    /// The reason for conditions, events and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Gone | Self::Conflict | Self::Waiting | Self::Elsewhere | Self::LeaseLost | Self::Timeout(_) => {
                Reason::Progressing
            }
            Self::Kube { source, .. } if matches!(kube_class(source), Class::Denied) => Reason::KubernetesDenied,
            Self::Kube { .. } => Reason::KubernetesUnavailable,
            Self::Endless(_) | Self::Panic => Reason::InternalError,
            Self::Unreadable => Reason::InvalidResource,
        }
    }

    /// The failure as a look or an effect reports it to the rules.
    pub fn trouble(&self, side: Side) -> Trouble {
        Trouble { side, class: self.class(), reason: self.reason(), message: self.to_string() }
    }
}

fn kube_class(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => Class::Denied,
            409 => Class::Conflict,
            429 => Class::Throttled(Duration::from_secs(wanted_pause(status).into())),
            400 | 404 | 405 | 413 | 422 => Class::Invalid,
            _ => Class::Transient,
        },
        _ => Class::Transient,
    }
}

/// How long the apiserver wants to be left alone, in seconds. Where it does not say so in its answer, its header says one.
fn wanted_pause(status: &kube::core::Status) -> u32 {
    status.details.as_ref().map_or(1, |details| details.retry_after_seconds.max(1))
}

/// The error without the server's own text, which may quote what was sent.
fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            "the operator's ServiceAccount may not do this; check its roles, or whether the namespace is being deleted"
                .to_owned()
        }
        kube::Error::Api(status) => format!("the apiserver answered {} {}", status.code, status.reason),
        _ => "the apiserver could not be reached or its answer not be read".to_owned(),
    }
}

/// A failed remote call as the rules see it.
pub(super) fn remote_trouble(error: &remote::Error) -> Trouble {
    Trouble { side: Side::Remote, class: error.class(), reason: error.reason(), message: in_words(error) }
}

/// A failed remote call in a person's words: what was being done, and what came of it.
pub(super) fn in_words(error: &remote::Error) -> String {
    let text = error.to_string();
    let Some((op, what)) = text.split_once(": ") else { return text };
    let doing = match op {
        "create_version" => "creating a version",
        "get_version" => "reading a version",
        "list_versions" => "listing versions",
        "update_version" => "switching a version",
        "delete_version" => "deleting a version",
        "list_secrets" => "listing secrets",
        "probe" => "trying the credential",
        _ => return text,
    };
    format!("{doing}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_being_done_and_what_came_of_it() {
        let status = kube::core::Status {
            code: 429,
            reason: "TooManyRequests".to_owned(),
            message: "what was sent".to_owned(),
            ..kube::core::Status::default()
        };
        let failure = Error::kube("writing the target", kube::Error::Api(Box::new(status)));
        assert_eq!(failure.to_string(), "writing the target: the apiserver answered 429 TooManyRequests");
        assert_eq!(failure.reason(), Reason::KubernetesUnavailable);
    }
}
