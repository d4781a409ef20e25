//! What is known of one resource when a decision is made: a snapshot of caches, of this process's memory, and of what
//! the present pass has looked at. Filled by `controller::observe`; this module holds no rule.
//!
//! A cached view is never mistaken for a live one: cached facts and live ones are different types.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::v1alpha1::{ObjectSeen, Permission, SecretVersion, VersionState};

use super::class::Class;
use super::projection::ProjectionError;
use super::reason::Reason;

/// Everything that `decide` may know.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The resource.
    pub cr: SecretVersion,
    /// Whether `cr` was read from the apiserver in this pass, under the lock of its place.
    pub live: bool,
    /// The time, for conditions.
    pub now: Timestamp,
    /// How long to wait should this pass fail.
    pub backoff: Duration,
    /// Whether a refresh is due.
    pub refresh_due: bool,
    /// The connection.
    pub link: Link,
    /// Who owns the place, where the place is known.
    pub owner: Owner,
    /// Ids of versions that other resources of the place serve.
    pub served_elsewhere: BTreeSet<String>,
    /// Whether the namespace is being deleted.
    pub namespace_terminating: bool,
    /// The source, as the metadata watch has it.
    pub source_meta: Meta,
    /// The target, as the metadata watch has it.
    pub target_meta: Meta,
    /// What this process remembers.
    pub memory: Memory,
    /// What the installation is set to.
    pub settings: Settings,
    /// A fresh id for an intent, should one be written.
    pub fresh_id: String,
    /// What this pass has looked at and done.
    pub seen: Seen,
}

/// What one pass has looked at and done so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The outcome of `Look::Name`.
    pub name: Option<NameFound>,
    /// The outcome of `Look::Source`.
    pub source: Option<Source>,
    /// The outcome of `Look::Versions`.
    pub versions: Option<Versions>,
    /// The outcome of `Look::Version`: the version, or that the remote does not know it.
    pub version: BTreeMap<String, Option<Version>>,
    /// The outcome of `Look::Target`, and the version that the target was compared with.
    pub target: Option<(String, TargetSight)>,
    /// The outcome of `Effect::CreateVersion`, and the intent that it was sent under.
    pub sent: Option<(String, Sent)>,
    /// Versions deleted in this pass.
    pub deleted: BTreeSet<String>,
    /// Versions that the remote will not delete while they are active.
    pub deactivate_first: BTreeSet<String>,
    /// The target as this pass wrote it.
    pub target_written: Option<ObjectSeen>,
    /// Whether the former target was dealt with.
    pub former_target_done: bool,
    /// A look or an effect that failed in a way that ends the pass.
    pub trouble: Option<Trouble>,
}

impl Seen {
    /// A version that this pass has seen: in a list, as the answer to a create, or by itself.
    pub fn find(&self, id: &str) -> Option<&Version> {
        let listed = self.versions.iter().flat_map(|v| &v.all);
        let answered = self.sent.iter().filter_map(|(_, sent)| match sent {
            Sent::Answered(version) => Some(version),
            Sent::TooLate | Sent::Failed(_) => None,
        });
        listed.chain(answered).chain(self.version.get(id).into_iter().flatten()).find(|v| v.id == id)
    }

    /// The target beside the value of a version, if it was compared with that one.
    pub fn target_of(&self, version_id: &str) -> Option<&TargetSight> {
        self.target.as_ref().filter(|(id, _)| id == version_id).map(|(_, sight)| sight)
    }

    /// What became of the request under an intent, if this pass sent it.
    pub fn sent_under(&self, intent: &str) -> Option<&Sent> {
        self.sent.as_ref().filter(|(id, _)| id == intent).map(|(_, sent)| sent)
    }

    /// Every version that this pass has seen, to be compared anew or to take in a switch of state.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Version> {
        let listed = self.versions.iter_mut().flat_map(|v| &mut v.all);
        let answered = self.sent.iter_mut().filter_map(|(_, sent)| match sent {
            Sent::Answered(version) => Some(version),
            Sent::TooLate | Sent::Failed(_) => None,
        });
        listed.chain(answered).chain(self.version.values_mut().flatten())
    }
}

/// What the process is set to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The longest that the remote takes to show what it accepted.
    pub settle: Duration,
}

/// The connection as seen from one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// It does not exist, or is not open to this resource. People get one answer for both.
    NotFound {
        /// Whether it exists, so that access was revoked.
        revoked: bool,
    },
    /// It exists and cannot be used.
    NotReady {
        /// Why.
        reason: Reason,
        /// What is so, and what to do.
        message: String,
    },
    /// It can be used.
    Ready(Access),
}

/// What a usable connection gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Base URL, normalized.
    pub url: String,
    /// The connection's organization.
    pub organization_id: String,
    /// Whether it is a connection of the cluster.
    pub cluster: bool,
    /// The most that any rule allows.
    pub permission: Permission,
    /// Whether the connection has our finalizer and is not being deleted: only then may clean-up duties begin.
    pub protected: bool,
    /// Whether the connection is being deleted.
    pub deleting: bool,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Who owns a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This resource, or the place is not known yet.
    This,
    /// Another one, by namespace and name.
    Other(String),
}

/// Metadata of a Secret as the watch has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Secrets are not watched.
    NotWatched,
    /// There is no such Secret.
    Absent,
    /// There is one.
    Present(ObjectSeen),
}

impl Meta {
    /// Whether this is the object as it was recorded. What is not watched is taken to be unmoved.
    pub fn is(&self, recorded: Option<&ObjectSeen>) -> bool {
        match self {
            Self::NotWatched => recorded.is_some(),
            Self::Absent => false,
            Self::Present(seen) => recorded.is_some_and(|r| {
                r.name == seen.name && r.uid == seen.uid && r.resource_version == seen.resource_version
            }),
        }
    }
}

/// What this process remembers of one resource from pass to pass. Losing it is safe: everything is then unknown.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What became of the intent with this id.
    pub intent: Option<(String, Fate)>,
    /// How long ago this process first saw the finalizer with neither record nor intent. `None` where it did not.
    pub bare_for: Option<Duration>,
    /// Whether this process itself added the finalizer and has seen neither record nor intent since, so that their absence
    /// means a fresh start and not a loss.
    pub finalizer_is_fresh: bool,
    /// How long until another create is within the rate.
    pub create_wait: Option<Duration>,
    /// Recorded ids that the last list lacked, and for how long lists have lacked them.
    pub missing: BTreeMap<String, Duration>,
    /// Ids that are proved gone.
    pub gone: BTreeSet<String>,
    /// Ids that this process created or recorded, to be looked for in every list.
    pub known: BTreeSet<String>,
    /// The source as it was when its bytes were last found unchanged.
    pub source_checked: Option<ObjectSeen>,
    /// The target as it was when it was last found to hold what it should.
    pub target_checked: Option<ObjectSeen>,
    /// Ids already reported as late twins, or compared and found to be other people's.
    pub judged: BTreeSet<String>,
    /// For how long the credential was gone while this resource was being deleted.
    pub unreachable_for: Option<Duration>,
}

/// What this process knows of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Written in this pass, and may be sent in it.
    Fresh,
    /// Not sent, and will not be: the time to send it ran out.
    NotSent,
    /// The remote refused it. Nothing was created.
    Rejected,
    /// The remote refused it, and will again for as long as source, spec and connection stay as they are.
    Refused,
    /// Sent, and the outcome is unknown: how long ago the request ended.
    Ambiguous(Duration),
    /// Found: another process, or an earlier life, wrote it. How long ago this process first saw it.
    Found(Duration),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The same bytes.
    Equal,
    /// Other bytes.
    Different,
    /// Not served, not decodable, or digested under an unknown key: neither equal nor different.
    Unknown,
}

/// A remote version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Id.
    pub id: String,
    /// Number, from 1.
    pub number: i64,
    /// State.
    pub state: VersionState,
    /// When it was created, in the remote's words.
    pub created_at: String,
    /// When it last changed, in the remote's words.
    pub updated_at: String,
    /// Keyed digest of its value, where the value was served.
    pub digest: Option<String>,
    /// Its value beside the source's bytes of this pass.
    pub is_source: Sight,
    /// Its value beside the digest of the recorded intent.
    pub is_intent: Sight,
    /// Whether its value equals one of the intents before.
    pub is_earlier: Sight,
}

/// A complete list of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Whether values were asked for.
    pub values: bool,
    /// The versions, by number.
    pub all: Vec<Version>,
}

/// The source, read live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is no such Secret.
    NotFound,
    /// It lacks the key.
    KeyNotFound,
    /// The value is empty.
    Empty,
    /// It may not be used: why.
    Refused(&'static str),
    /// Its bytes.
    Bytes {
        /// The Secret as it was read.
        object: ObjectSeen,
        /// Keyed digest of the bytes.
        digest: String,
        /// The bytes beside `status.digest`.
        is_last: Sight,
        /// The bytes beside the recorded intent's digest.
        is_intent: Sight,
    },
}

/// What a name was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFound {
    /// One secret.
    One(String),
    /// None.
    None,
    /// Several.
    Several(Vec<String>),
    /// The credential may not list secrets.
    Denied,
}

/// The target Secret beside what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSight {
    /// There is none.
    Absent,
    /// It holds what it should.
    Matches(ObjectSeen),
    /// It is ours, or may become ours, and differs.
    Differs(ObjectSeen),
    /// It is somebody else's.
    NotOwned,
    /// It belongs to an earlier resource of the same name, and will be collected.
    Leftover,
    /// A key is held by another field manager.
    Conflict(String),
    /// It cannot be written as asked: immutable, or of another type.
    Invalid(String),
    /// The value cannot be made into what the target asks for.
    Unprojectable(ProjectionError),
    /// The remote did not serve the value.
    NotServed,
}

/// What became of a create request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The time to send it had run out: nothing was sent.
    TooLate,
    /// The remote answered with a version.
    Answered(Version),
    /// It did not.
    Failed(SendFailure),
}

/// The facts of a create that got no version as its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFailure {
    /// The answer's status, where there was one.
    pub status: Option<u16>,
    /// Whether the answer was the API's own JSON error.
    pub api_error: bool,
    /// Whether no connection was made, so that nothing can have been sent.
    pub not_connected: bool,
    /// The remote's wish for patience.
    pub retry_after: Option<Duration>,
    /// Why.
    pub reason: Reason,
    /// What happened.
    pub message: String,
}

/// A failed look or effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which side failed.
    pub side: Side,
    /// What kind of failure.
    pub class: Class,
    /// Why.
    pub reason: Reason,
    /// What happened, and what to do.
    pub message: String,
}

/// The side of a failure: which condition it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The remote, or what leads to it.
    Remote,
    /// The target Secret.
    Target,
}
