//! The protocol, broken on purpose, one place at a time: in what the rules see, in what they answer, or in the shell. The
//! operator's code is not touched. A model that does not notice is no proof.

use std::time::Duration;

use secret_version_operator::api::v1alpha1::{Baseline, Origin, SecretVersionStatus};
use secret_version_operator::domain::create::{bare, open_intent};
use secret_version_operator::domain::observed::{Fate, Observed, Sight, Source, Version};
use secret_version_operator::domain::outcome::later;
use secret_version_operator::domain::reason::Reason;
use secret_version_operator::domain::step::{Effect, Look, Rest, Step, Wake};

use crate::translate::place;

/// A deliberate fault in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// Among several equal claims each resource takes itself for the owner.
    NoOldestOwner,
    /// The owner is decided from the cache before the lock is taken, and not again under it.
    OwnerDecidedBeforeLock,
    /// No lock is taken.
    NoLock,
    /// A process forgets for which resource it wrote an intent.
    NoOwnClaims,
    /// A process that takes over acts on a cache that is older than its Lease.
    OldCacheAfterLease,
    /// A value that nothing can compare counts as different.
    UnknownIsDifferent,
    /// A value that nothing can compare counts as equal.
    UnknownIsEqual,
    /// Writes carry neither UID nor resource version.
    UnguardedWrites,
    /// A process that lost its Lease goes on.
    LeadsOn,
    /// The source is read again when it is sent.
    SourceReadTwice,
    /// A lost status is taken for a fresh start.
    StatusLostIsFresh,
    /// A create is sent however long ago its intent was begun.
    NoSendWindow,
    /// A create without an answer is taken for refused.
    LostIsRefused,
    /// The grace of an intent is counted from the first sight of any intent.
    GraceOfAnyIntent,
    /// Several equal versions do not forbid a create.
    SeveralEqualForbidNothing,
    /// An equal version that appears does not end the wait: after the grace the change is sent again.
    EqualForbidsNothing,
    /// An intent is replaced under a new baseline.
    NewBaseline,
    /// There is no end to attempts.
    EndlessAttempts,
    /// An outcome is left where it is when the source has moved on.
    OutcomeOfOldSourceDropped,
    /// The status waits for the target.
    StatusWaitsForTarget,
    /// A list that lacks a recorded id counts as complete.
    LackingListIsComplete,
    /// The intent is written after the create was sent.
    IntentAfterPost,
    /// There is no grace.
    NoGrace,
    /// Every version counts as later than the intent.
    NoBaseline,
    /// A create without an answer is sent again at once.
    BlindRetry,
    /// Lists end with their first page.
    FirstPageOnly,
    /// A version found is recorded as created, whoever made it.
    FoundIsCreated,
    /// Ages go on while a pass decides on the list that it has.
    AgesOutrunTheList,
    /// Every intent of a pass has the same id.
    OneIdPerPass,
    /// Who put the finalizer on takes a later loss of the status for a fresh start.
    OnceFreshAlwaysFresh,
    /// People are told of what a write settles only after it was answered.
    ToldAfterwards,
    /// Every version of a list with values counts as judged, also where no judgement was made.
    EverythingListedIsJudged,
}

impl Break {
    /// Every one.
    pub const ALL: [Self; 32] = [
        Self::NoOldestOwner,
        Self::OwnerDecidedBeforeLock,
        Self::NoLock,
        Self::NoOwnClaims,
        Self::OldCacheAfterLease,
        Self::UnknownIsDifferent,
        Self::UnknownIsEqual,
        Self::UnguardedWrites,
        Self::LeadsOn,
        Self::SourceReadTwice,
        Self::StatusLostIsFresh,
        Self::NoSendWindow,
        Self::LostIsRefused,
        Self::GraceOfAnyIntent,
        Self::SeveralEqualForbidNothing,
        Self::EqualForbidsNothing,
        Self::NewBaseline,
        Self::EndlessAttempts,
        Self::OutcomeOfOldSourceDropped,
        Self::StatusWaitsForTarget,
        Self::LackingListIsComplete,
        Self::IntentAfterPost,
        Self::NoGrace,
        Self::NoBaseline,
        Self::BlindRetry,
        Self::FirstPageOnly,
        Self::FoundIsCreated,
        Self::AgesOutrunTheList,
        Self::OneIdPerPass,
        Self::OnceFreshAlwaysFresh,
        Self::ToldAfterwards,
        Self::EverythingListedIsJudged,
    ];
}

impl Break {
    /// Those that only the long form of their world shows.
    pub const LONG: [Self; 2] = [Self::NoOldestOwner, Self::OneIdPerPass];

    /// The world that shows it.
    pub fn world(self) -> &'static str {
        match self {
            Self::OwnerDecidedBeforeLock | Self::NoLock | Self::NoOwnClaims => "two resources",
            Self::OldCacheAfterLease => "two resources, a crash",
            Self::NoOldestOwner => "two resources, two leaders",
            Self::UnknownIsDifferent
            | Self::UnknownIsEqual
            | Self::SeveralEqualForbidNothing
            | Self::FoundIsCreated => "console",
            Self::NoBaseline => "older",
            Self::UnguardedWrites | Self::NoSendWindow | Self::GraceOfAnyIntent | Self::OneIdPerPass => "two leaders",
            Self::LeadsOn => "lease",
            Self::SourceReadTwice
            | Self::LostIsRefused
            | Self::EqualForbidsNothing
            | Self::IntentAfterPost
            | Self::NoGrace
            | Self::BlindRetry
            | Self::AgesOutrunTheList => "crashes",
            Self::StatusLostIsFresh | Self::OnceFreshAlwaysFresh => "status lost",
            Self::EndlessAttempts => "attempts",
            Self::NewBaseline => "late and hidden",
            Self::EverythingListedIsJudged => "late",
            Self::OutcomeOfOldSourceDropped | Self::FirstPageOnly => "source",
            Self::StatusWaitsForTarget => "target",
            Self::LackingListIsComplete => "deletion in a lag",
            Self::ToldAfterwards => "deletion",
        }
    }
}

const EVER: Duration = Duration::from_hours(1);

/// Breaks what the rules see.
pub(crate) fn before(broken: Option<Break>, o: &mut Observed) {
    match broken {
        Some(Break::UnknownIsDifferent) => replace_unknown(o, Sight::Different),
        Some(Break::UnknownIsEqual) => replace_unknown(o, Sight::Equal),
        Some(Break::StatusLostIsFresh) if bare(&o.cr) => {
            (o.memory.finalizer_is_fresh, o.memory.bare_for) = (true, Some(EVER));
        }
        Some(Break::NoGrace) => {
            if let Some((_, Fate::Ambiguous(age) | Fate::Found(age))) = &mut o.memory.intent {
                *age = EVER;
            }
        }
        Some(Break::SeveralEqualForbidNothing) => hide_equal(o, 2),
        Some(Break::EqualForbidsNothing) => hide_equal(o, 1),
        Some(Break::EndlessAttempts) => {
            if let Some(intent) = o.cr.status.as_mut().and_then(|s| s.create.as_mut()) {
                intent.attempts = intent.attempts.min(2);
            }
        }
        Some(Break::OutcomeOfOldSourceDropped) => {
            if matches!(o.seen.source, Some(Source::Bytes { is_intent: Sight::Different, .. })) {
                hide_equal(o, 1);
            }
        }
        Some(Break::LackingListIsComplete) => {
            let recorded: Vec<String> =
                o.cr.status.iter().flat_map(|s| &s.history).map(|r| r.version_id.clone()).collect();
            o.memory.gone.extend(recorded);
            o.memory.gone.extend(o.memory.known.clone());
        }
        Some(Break::NoBaseline) => {
            if let Some(intent) = o.cr.status.as_mut().and_then(|s| s.create.as_mut()) {
                intent.baseline = Baseline::default();
            }
        }
        _ => {}
    }
}

fn replace_unknown(o: &mut Observed, by: Sight) {
    let put = |sight: &mut Sight| {
        if *sight == Sight::Unknown {
            *sight = by;
        }
    };
    let source_read = o.seen.source.is_some();
    if let Some(Source::Bytes { is_last, is_intent, .. }) = &mut o.seen.source {
        put(is_last);
        put(is_intent);
    }
    let values = o.seen.versions.as_ref().is_some_and(|v| v.values);
    for version in o.seen.all_mut().filter(|_| values) {
        put(&mut version.is_intent);
        if source_read {
            put(&mut version.is_source);
        }
    }
}

/// Makes versions that equal the intent look different where there are at least so many.
fn hide_equal(o: &mut Observed, from: usize) {
    let Some(intent) = open_intent(o, &place()).cloned() else { return };
    let equal = |v: &&mut Version| v.is_intent == Sight::Equal && later(v, &intent.baseline);
    if o.seen.all_mut().filter(equal).count() >= from && o.seen.sent.is_none() {
        o.seen.all_mut().for_each(|v| v.is_intent = Sight::Different);
    }
}

/// Breaks what the rules answer.
pub(crate) fn after(broken: Option<Break>, o: &Observed, step: Step) -> Step {
    match (broken, step) {
        (Some(Break::NewBaseline), Step::Do(Effect::WriteIntent { mut status, events })) => {
            let newest = o.seen.versions.iter().flat_map(|v| &v.all).max_by_key(|v| v.number);
            if let (Some(intent), Some(newest)) = (&mut status.create, newest) {
                intent.baseline = Baseline { version: newest.number, created_at: Some(newest.created_at.clone()) };
            }
            Step::Do(Effect::WriteIntent { status, events })
        }
        (Some(Break::StatusWaitsForTarget), Step::Do(Effect::WriteStatus { status, .. })) if target_failed(&status) => {
            Step::Rest(Rest {
                status: Box::new(o.cr.status.clone().unwrap_or_default()),
                wake: Wake::Backoff(o.backoff),
                events: Vec::new(),
            })
        }
        (Some(Break::OutcomeOfOldSourceDropped), step) => {
            let listed = o.seen.versions.as_ref().is_some_and(|v| v.values);
            let ask = open_intent(o, &place()).is_some() && listed && o.seen.source.is_none() && o.seen.sent.is_none();
            if ask { Step::Look(Look::Source) } else { step }
        }
        (Some(Break::FoundIsCreated), Step::Do(Effect::WriteStatus { mut status, events })) => {
            status.history.iter_mut().for_each(|r| r.origin = Origin::Created);
            status.origin = status.origin.map(|_| Origin::Created);
            Step::Do(Effect::WriteStatus { status, events })
        }
        (_, step) => step,
    }
}

fn target_failed(status: &SecretVersionStatus) -> bool {
    let not_owned = Reason::TargetNotOwned.as_str();
    status.conditions.iter().any(|c| c.type_ == "TargetSynced" && c.reason == not_owned)
}
