//! What `decide` may answer: the vocabulary between the rules and the shell that carries them out.

use std::time::Duration;

use crate::api::v1alpha1::{CreationPolicy, SecretVersionStatus, VersionState};

use super::reason::Reason;

/// The next thing to do with a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// See this, live, then decide again.
    Look(Look),
    /// Do this, note its outcome, then decide again.
    Do(Effect),
    /// Nothing more to do in this pass.
    Rest(Rest),
}

/// What must be seen before a decision can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Take the lock of the place, and read the resource from the apiserver.
    Live,
    /// The remote secrets' names, to find the id of one.
    Name(String),
    /// The source's bytes.
    Source,
    /// Every version of the remote secret, with values or without.
    Versions {
        /// Whether values are asked for.
        values: bool,
    },
    /// One version, with its value.
    Version {
        /// Its id.
        id: String,
    },
    /// Whether a version that lists lack is gone.
    Gone {
        /// Its id.
        id: String,
    },
    /// The target Secret, compared with what the version's value makes of it.
    Target {
        /// The version whose value it should hold.
        version_id: String,
    },
}

/// One change to the world. Each is carried out whole, or its outcome is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put our finalizer on the resource.
    AddFinalizer,
    /// Take our finalizer off the resource: the last act.
    RemoveFinalizer {
        /// What to tell people before it is off.
        events: Vec<Event>,
    },
    /// Write an intent: a status in which `create` is new. Must be durable before anything is sent.
    WriteIntent {
        /// The status.
        status: Box<SecretVersionStatus>,
        /// What to tell people before it is written: after it nothing would remember to.
        events: Vec<Event>,
    },
    /// Write a status between other effects.
    WriteStatus {
        /// The status.
        status: Box<SecretVersionStatus>,
        /// What to tell people before it is written.
        events: Vec<Event>,
    },
    /// Create a version from the source's bytes that this pass read, under the intent with this id.
    CreateVersion {
        /// Id of the intent.
        intent: String,
    },
    /// Switch a version.
    SetState {
        /// The version.
        version_id: String,
        /// Its new state.
        state: VersionState,
    },
    /// Delete a version.
    DeleteVersion {
        /// The version.
        version_id: String,
    },
    /// Write the target Secret with the version's value, as it was last looked at.
    WriteTarget {
        /// The version.
        version_id: String,
        /// How the Secret belongs to the resource.
        policy: CreationPolicy,
    },
    /// Delete the Secret that was the target before, if it is still ours.
    RemoveTarget {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

impl Effect {
    /// The effect's name, as a metric label and in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::RemoveFinalizer { .. } => "remove_finalizer",
            Self::WriteIntent { .. } => "write_intent",
            Self::WriteStatus { .. } => "write_status",
            Self::CreateVersion { .. } => "create_version",
            Self::SetState { .. } => "set_state",
            Self::DeleteVersion { .. } => "delete_version",
            Self::WriteTarget { .. } => "write_target",
            Self::RemoveTarget { .. } => "remove_target",
        }
    }
}

/// The end of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// The status as it should be. Written only where it differs.
    pub status: Box<SecretVersionStatus>,
    /// When to come back.
    pub wake: Wake,
    /// What to tell people once.
    pub events: Vec<Event>,
}

/// When a resource is looked at again, unless something about it changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At its next refresh.
    Refresh,
    /// After this long.
    After(Duration),
    /// After a backoff that grows with each failure, and is at least this long.
    Backoff(Duration),
}

/// Something that happened, for a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Why.
    pub reason: Reason,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// What happened, and what to do.
    pub note: String,
}

impl Event {
    /// An event that somebody should look at.
    pub fn warning(reason: Reason, note: impl Into<String>) -> Self {
        Self { reason, warning: true, note: note.into() }
    }

    /// An event for the record.
    pub fn normal(reason: Reason, note: impl Into<String>) -> Self {
        Self { reason, warning: false, note: note.into() }
    }
}
