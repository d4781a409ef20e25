//! The state that is explored: the apiserver's objects, the remote, the processes, and what is known only to the model.
//!
//! Everything is a small number. A version's id is its number; a value is 1, 2, 3 (0: none); a resource version, an id of
//! an intent and an age mean nothing beyond being equal or ordered, and are renamed after each step so that states that differ
//! in names alone are one.

#![allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and each is explored")]

use crate::config::Faults;

/// A set of version numbers.
pub type Numbers = u16;

/// The set of one number.
pub fn bit(number: u8) -> Numbers {
    1 << number.min(15)
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The resources as the apiserver has them.
    pub objects: Vec<Object>,
    /// The source of each resource.
    pub sources: Vec<Source>,
    /// The target of each resource.
    pub targets: Vec<Target>,
    /// Every version ever made, by number from 1; those deleted are marked.
    pub remote: Vec<Version>,
    /// Create requests on their way.
    pub flights: Vec<Flight>,
    /// The processes: the leader first.
    pub processes: Vec<Process>,
    /// The faults that may still happen.
    pub left: Faults,
    /// What only the model knows, by resource.
    pub truth: Vec<Truth>,
    /// A promise that a step broke, if one did.
    pub broken: Option<Broken>,
}

/// A promise that is seen broken in a step, not in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A create was sent and no intent of it was durable.
    SentWithoutIntent,
    /// A create was sent although the list that was decided on had an equal version.
    EqualIgnored,
    /// A version was deleted or deactivated that this resource did not create, or that another serves.
    NotOurs,
    /// A change was sent more than three times and no person asked for it.
    TooManyAttempts,
    /// A create was sent later than the deadline of the Lease.
    SentAfterLease,
    /// Other bytes were sent than the intent names.
    OtherBytes,
}

impl Broken {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SentWithoutIntent => "a create without a durable intent",
            Self::EqualIgnored => "a create beside an equal version",
            Self::NotOurs => "somebody else's version was taken away",
            Self::TooManyAttempts => "more than three attempts",
            Self::SentAfterLease => "a create after the Lease",
            Self::OtherBytes => "other bytes than the intent names",
        }
    }
}

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its value.
    pub value: u8,
    /// Its resource version.
    pub rv: u8,
}

/// A target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Target {
    /// Its value; 0: there is none.
    pub value: u8,
    /// Its resource version.
    pub rv: u8,
    /// Whether somebody else's Secret has the name.
    pub foreign: bool,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Whether it exists.
    pub exists: bool,
    /// Its resource version.
    pub rv: u8,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has our finalizer.
    pub finalizer: bool,
    /// The sync that a person asked for last.
    pub requested: u8,
    /// Its status.
    pub status: Status,
}

/// A status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Status {
    /// Whether it speaks of the present generation.
    pub observed: bool,
    /// Whether the place is recorded.
    pub placed: bool,
    /// The version in use.
    pub current: Option<Current>,
    /// Digest of the last change carried through.
    pub digest: u8,
    /// The source at that change, by resource version.
    pub source: u8,
    /// The record.
    pub history: Vec<Record>,
    /// The intent.
    pub create: Option<Intent>,
    /// The target as it was written, by resource version.
    pub target: u8,
    /// The sync that was handled.
    pub handled: u8,
    /// `Ready`, `RemoteSynced` and `TargetSynced`: 0 absent, 1 true, else false for the reason of this index + 2.
    pub conditions: [u8; 3],
    /// Whether `Stalled` is true.
    pub stalled: bool,
}

/// The version in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Current {
    /// Its number.
    pub number: u8,
    /// Whether it is active.
    pub active: bool,
    /// How often its state was switched.
    pub switched: u8,
    /// Whether it is recorded as created here.
    pub created: bool,
}

/// A recorded version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its number.
    pub number: u8,
    /// Whether it is recorded as created.
    pub created: bool,
    /// Its digest.
    pub digest: u8,
    /// The intent that it is the outcome of; 0: none.
    pub intent: u8,
}

/// An intent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Intent {
    /// Its id.
    pub id: u8,
    /// Number of the newest version before.
    pub baseline: u8,
    /// Digest of what is sent.
    pub digest: u8,
    /// The attempt.
    pub attempts: u8,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// Digest and baseline of those before.
    pub earlier: Vec<(u8, u8)>,
}

/// A version at the remote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its value.
    pub value: u8,
    /// Whether it is active.
    pub active: bool,
    /// Whether its value is served.
    pub served: bool,
    /// Whether its value was ever not served.
    pub withheld: bool,
    /// How often its state was switched.
    pub switched: u8,
    /// Lists lack it, and must show it before so many ticks have passed; 0: they show it.
    pub hidden: u8,
    /// Whether it was deleted.
    pub gone: bool,
    /// The resource and the number of the change that it was created for; `None`: made at the console.
    pub made_for: Option<(u8, u8)>,
    /// Whether it was made at the console while a create was under way, and may be taken for its outcome.
    pub mistakable: bool,
    /// Whether it was committed later than any grace covers, or deleted by a person before it was recorded.
    pub late: bool,
}

/// A create request that was sent and neither committed nor lost for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The resource and the number of the change.
    pub made_for: (u8, u8),
    /// The value.
    pub value: u8,
    /// Ticks until it must be committed or lost.
    pub left: u8,
    /// Whether it outlives what a grace covers.
    pub late: bool,
    /// The process that waits for an answer.
    pub waiting: Option<u8>,
    /// The version that it became.
    pub committed: Option<u8>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it may act. A process that lost its Lease ends with the call that it had begun.
    pub may_act: bool,
    /// The resources as its watch shows them.
    pub cache: Vec<Object>,
    /// The sources as its watch shows them, by resource version.
    pub sources: Vec<u8>,
    /// The resource that it last wrote an intent for.
    pub claimant: Option<u8>,
    /// The digest key that it has.
    pub key: u8,
    /// What it remembers of each resource.
    pub memory: Vec<Memory>,
    /// What it last wrote itself of each resource, where its cache still shows a state that this replaced.
    pub own: Vec<Option<Object>>,
    /// Its passes.
    pub passes: Vec<Option<Pass>>,
}

/// What a process remembers of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    /// The fate of an intent.
    pub intent: Option<(u8, Fate)>,
    /// Ticks since it saw the finalizer with neither record nor intent.
    pub bare: Option<u8>,
    /// Whether it added the finalizer.
    pub finalizer_is_ours: bool,
    /// Ids that lists lack, and for how many ticks.
    pub missing: Vec<(u8, u8)>,
    /// Ids proved gone.
    pub gone: Numbers,
    /// Ids that it created.
    pub known: Numbers,
    /// Ids that it judged.
    pub judged: Numbers,
    /// The source as it was last found unchanged.
    pub source_checked: u8,
    /// The target as it was last found right.
    pub target_checked: u8,
}

/// An intent's fate, with ages in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Written in this pass.
    Fresh,
    /// Not sent.
    NotSent,
    /// Refused.
    Rejected,
    /// Sent; the request ended so long ago.
    Ambiguous(u8),
    /// Found so long ago.
    Found(u8),
}

/// A pass under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// What the rules see.
    pub view: View,
    /// Whether it holds the lock of the place.
    pub locked: bool,
    /// Ticks since the intent was begun.
    pub began: Option<u8>,
    /// Whether an intent of this pass is durable, and the change that it is for.
    pub durable: Option<u8>,
    /// Whether it waits for the answer to a create.
    pub waiting: bool,
    /// Whether a list was answered by the remote and has not arrived.
    pub arriving: bool,
    /// Ticks since the list was asked for.
    pub list_age: u8,
}

/// What the rules see, and all that decides what they answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Which resource.
    pub index: u8,
    /// The resource.
    pub object: Object,
    /// Whether it was read live.
    pub live: bool,
    /// Whether a refresh is due.
    pub refresh: bool,
    /// Whether another resource owns the place.
    pub claimed: bool,
    /// What others serve.
    pub served_elsewhere: Numbers,
    /// The source as the watch has it.
    pub source_meta: u8,
    /// The target as the watch has it; 0: none.
    pub target_meta: u8,
    /// The memory as of the last look at it.
    pub memory: Memory,
    /// The id of an intent, should one be written.
    pub fresh: u8,
    /// The digest key.
    pub key: u8,
    /// The source's bytes, read in this pass.
    pub source: Option<Source>,
    /// Bytes that were served in this pass, by number.
    pub values: Vec<(u8, u8)>,
    /// The list, and whether it was asked for with values.
    pub listed: Option<(bool, Vec<Seen>)>,
    /// Versions asked for by id.
    pub single: Vec<Seen>,
    /// The target beside a version.
    pub target: Option<(u8, TargetSeen)>,
    /// What became of a create, and its intent.
    pub sent: Option<(u8, Sent)>,
    /// Versions deleted in this pass.
    pub deleted: Numbers,
    /// The target as this pass wrote it.
    pub target_written: u8,
    /// A failed look or effect.
    pub trouble: bool,
}

/// A version as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its number.
    pub number: u8,
    /// Whether it was active.
    pub active: bool,
    /// How often its state had been switched.
    pub switched: u8,
}

/// The target beside what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetSeen {
    /// There is none.
    Absent,
    /// It is right.
    Matches(u8),
    /// It differs.
    Differs(u8),
    /// It is somebody else's.
    NotOwned,
    /// The value was not served.
    NotServed,
}

/// What became of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Not sent.
    TooLate,
    /// Answered with a version.
    Answered(Seen),
    /// Refused.
    Rejected,
    /// No answer.
    Lost,
}

/// What only the model knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Truth {
    /// How many changes were resolved.
    pub changes: u8,
    /// The value of the last one.
    pub value: u8,
    /// How often the present change was sent with this value.
    pub attempts: (u8, u8),
    /// Versions that people were told of.
    pub reported: Numbers,
    /// Whether people were told that something may have been left behind.
    pub left_behind: bool,
    /// Whether the finalizer was ever on.
    pub protected: bool,
    /// Whether a version made at the console was ever taken for ours: its bytes were equal, and an intent was open.
    pub mistaken: bool,
}
