//! Effects, as `controller::apply` carries them out.

use secret_version_operator::api::v1alpha1::Baseline;
use secret_version_operator::domain::outcome::{Outcome, classify};

use crate::breaks::Break;
use crate::normal::fresh_id;
use crate::rules::{Act, Told};
use crate::shell::{FAILED, Shell, Stepped, is_bare, numbered, seen, take_in};
use crate::translate::{digest, observed, sent};
use crate::world::{Broken, Fate, Flight, Object, Sent, Status, TargetSeen, Version, bit};

/// What became of a write to the apiserver.
enum Written {
    Answered,
    AnswerLost,
    Refused,
}

/// Carries out an effect, or the end of a pass.
pub(crate) fn apply(shell: &mut Shell<'_>, act: &Act, answer_lost: bool) -> Stepped {
    match act {
        Act::AddFinalizer => match write(shell, answer_lost, |object| object.finalizer = true) {
            Written::Answered => {
                shell.memory().finalizer_is_ours = is_bare(&shell.view().object.clone());
                shell.remember();
                Stepped::On
            }
            _ => FAILED,
        },
        Act::RemoveFinalizer(told) => remove_finalizer(shell, *told, answer_lost),
        Act::WriteIntent(status, told) => {
            tell(shell, *told);
            write_intent(shell, status, answer_lost)
        }
        Act::WriteStatus(status, told) => {
            let afterwards = shell.broken(Break::ToldAfterwards);
            if !afterwards {
                tell(shell, *told);
            }
            let Written::Answered = write_status(shell, status, answer_lost) else { return FAILED };
            if afterwards {
                tell(shell, *told);
            }
            Stepped::On
        }
        Act::Create(intent) => create(shell, *intent),
        Act::SetState(number, active) => {
            set_state(shell, *number, *active);
            Stepped::On
        }
        Act::Delete(number) => {
            delete(shell, *number);
            Stepped::On
        }
        Act::WriteTarget(number) => {
            write_target(shell, *number);
            Stepped::On
        }
        Act::Rest { status, told, judged, refresh } => {
            if !matches!(write_status(shell, status, answer_lost), Written::Answered) {
                return FAILED;
            }
            tell(shell, *told);
            let listed = shell.view().listed.clone();
            let every = shell.broken(Break::EverythingListedIsJudged);
            let memory = shell.memory();
            if let Some((_, all)) = listed.filter(|(values, _)| *judged || (*values && every)) {
                memory.judged |= all.iter().fold(0, |judged, s| judged | bit(s.number));
            }
            if let Some((_, fate @ Fate::Fresh)) = &mut memory.intent {
                *fate = Fate::NotSent;
            }
            Stepped::Ended { rests: *refresh }
        }
        Act::Live | Act::Source | Act::Versions { .. } | Act::Version(_) | Act::Gone(_) | Act::Target(_) => {
            unreachable!("a look is no effect")
        }
    }
}

fn tell(shell: &mut Shell<'_>, told: Told) {
    let remote = &shell.world.remote;
    let late = numbered(remote).filter(|(_, v)| may_be_late(remote, v)).fold(0, |all, (number, _)| all | bit(number));
    let truth = &mut shell.world.truth[shell.c];
    truth.reported |= told.named | (told.late & late);
    truth.left_behind |= told.left_behind;
}

/// Whether it is no fault to tell of a version as late and not to record it: it came too late, or another with the same bytes did
/// or was made at the console, and was taken for the outcome.
fn may_be_late(remote: &[Version], version: &Version) -> bool {
    version.late || remote.iter().any(|v| v.value == version.value && (v.late || v.made_for.is_none()))
}

/// A write, guarded by what was seen. Answered, the pass goes on with the object as it now is.
fn write(shell: &mut Shell<'_>, answer_lost: bool, change: impl FnOnce(&mut Object)) -> Written {
    let c = shell.c;
    let unguarded = shell.broken(Break::UnguardedWrites);
    let seen = shell.view().object.rv;
    let object = &mut shell.world.objects[c];
    if !object.exists || (object.rv != seen && !unguarded) {
        return Written::Refused;
    }
    let before = object.status.digest;
    change(object);
    object.rv += 1;
    let object = object.clone();
    let truth = &mut shell.world.truth[c];
    truth.protected |= object.finalizer;
    let mut created = object.status.history.iter().filter(|r| r.created);
    truth.mistaken |= created.any(|r| shell.world.remote[usize::from(r.number) - 1].made_for.is_none());
    if object.status.digest != before && object.status.digest & 15 != truth.value {
        truth.changes += 1;
        truth.value = object.status.digest & 15;
        truth.attempts = (0, 0);
    }
    if answer_lost {
        return Written::AnswerLost;
    }
    shell.set_object(object, true);
    Written::Answered
}

/// A merge patch of what differs.
fn write_status(shell: &mut Shell<'_>, wanted: &Status, answer_lost: bool) -> Written {
    let old = shell.view().object.status.clone();
    if old == *wanted {
        return Written::Answered;
    }
    let wanted = wanted.clone();
    write(shell, answer_lost, move |object| {
        let now = &mut object.status;
        macro_rules! patch {
            ($($field:ident),+) => { $(if old.$field != wanted.$field { now.$field = wanted.$field; })+ };
        }
        patch!(observed, placed, current, digest, source, history, create, target, handled, conditions, stalled);
    })
}

fn remove_finalizer(shell: &mut Shell<'_>, told: Told, answer_lost: bool) -> Stepped {
    tell(shell, told);
    write(shell, answer_lost, |object| {
        object.finalizer = false;
        object.exists = !object.deleting;
    });
    FAILED
}

fn write_intent(shell: &mut Shell<'_>, status: &Status, answer_lost: bool) -> Stepped {
    let Some(intent) = &status.create else { return Stepped::On };
    let c = u8::try_from(shell.c).ok();
    shell.pass().began = Some(0);
    shell.process().claimant = c;
    shell.memory().intent = Some((intent.id, Fate::NotSent));
    if !shell.broken(Break::OneIdPerPass) {
        let fresh = fresh_id(shell.world).max(intent.id + 1);
        shell.view().fresh = fresh;
    }
    if shell.broken(Break::IntentAfterPost) {
        // What is sent first is sent whatever becomes of the write.
        send(shell, intent.id);
    }
    match write_status(shell, status, answer_lost) {
        Written::Answered => {
            let id = intent.id;
            let changes = shell.world.truth[shell.c].changes;
            shell.pass().durable = Some(changes);
            if !shell.pass().waiting {
                shell.memory().intent = Some((id, Fate::Fresh));
                shell.remember();
            }
            Stepped::On
        }
        _ => FAILED,
    }
}

fn create(shell: &mut Shell<'_>, intent: u8) -> Stepped {
    let in_time = shell.pass().began.is_some_and(|ticks| ticks < 1) || shell.broken(Break::NoSendWindow);
    let may_act = shell.process().may_act || shell.broken(Break::LeadsOn);
    if in_time && may_act && shell.view().source.is_some() {
        send(shell, intent);
    } else {
        shell.view().sent = Some((intent, Sent::TooLate));
        shell.memory().intent = Some((intent, Fate::NotSent));
        shell.remember();
    }
    Stepped::On
}

fn send(shell: &mut Shell<'_>, intent: u8) {
    let c = shell.c;
    let mut value = shell.view().source.map_or(0, |source| source.value);
    if shell.broken(Break::SourceReadTwice) {
        value = shell.world.sources[c].value.max(1);
    }
    let change = judge_sending(shell, value);
    shell.memory().intent = Some((intent, Fate::Ambiguous(0)));
    let left = 2 * shell.config.timeout;
    let waiting = u8::try_from(shell.p).ok();
    let made_for = (u8::try_from(c).unwrap_or(0), change);
    shell.world.flights.push(Flight { made_for, value, left, late: false, waiting, committed: None });
    shell.pass().waiting = true;
    shell.view().sent = Some((intent, Sent::Lost));
}

/// Whether a promise is broken by sending this now. Answers the number of the change.
fn judge_sending(shell: &mut Shell<'_>, value: u8) -> u8 {
    let c = shell.c;
    let withheld: Vec<u8> = numbered(&shell.world.remote).filter(|(_, v)| v.withheld).map(|(n, _)| n).collect();
    let durable = shell.pass().durable;
    let view = shell.view();
    let (key, intent) = (view.key, view.object.status.create.clone().unwrap_or_default());
    let recorded = |number: u8| view.object.status.history.iter().any(|r| r.number == number);
    let value_of = |number: u8| view.values.iter().find(|(n, _)| *n == number).map(|(_, value)| *value);
    let listed = view.listed.iter().flat_map(|(_, all)| all);
    let later_equal =
        listed.clone().any(|s| s.number > intent.baseline && !recorded(s.number) && value_of(s.number) == Some(value));
    let newest = listed.filter(|s| s.active).max_by_key(|s| s.number);
    let newest_equal = intent.attempts < 2 && newest.is_some_and(|s| value_of(s.number) == Some(value));
    let newest_equal = newest_equal && newest.is_some_and(|s| !withheld.contains(&s.number));
    let other_bytes = durable.is_some() && intent.digest != digest(value, key);
    let may_act = shell.process().may_act;
    let allowed = 3 * (1 + shell.world.objects[c].requested);
    let truth = &mut shell.world.truth[c];
    if truth.attempts.0 != value {
        truth.attempts = (value, 0);
    }
    truth.attempts.1 += 1;
    let attempts = truth.attempts.1;
    let changes = truth.changes;
    let broken = match () {
        () if durable.is_none() => Some(Broken::SentWithoutIntent),
        () if later_equal || newest_equal => Some(Broken::EqualIgnored),
        () if other_bytes => Some(Broken::OtherBytes),
        () if attempts > allowed => Some(Broken::TooManyAttempts),
        () if !may_act => Some(Broken::SentAfterLease),
        () => None,
    };
    shell.world.broken = shell.world.broken.or(broken);
    durable.unwrap_or(changes)
}

/// A create ended for the one who waits: as `controller::apply::note_outcome`.
pub(crate) fn note_outcome(shell: &mut Shell<'_>, outcome: Sent) {
    let Some((intent, _)) = shell.view().sent else { return };
    shell.pass().waiting = false;
    shell.memory().intent = Some((intent, Fate::Ambiguous(0)));
    if let Sent::Answered(answer) = outcome {
        let value = shell.world.remote[usize::from(answer.number) - 1].value;
        take_in(shell.view(), answer.number, value);
    }
    let config = shell.config;
    let judged = observed(shell.view(), config);
    let listed = judged.seen.versions.map(|v| v.all).unwrap_or_default();
    let baseline = judged.cr.status.and_then(|s| s.create).map_or_else(Baseline::default, |i| i.baseline);
    let mut outcome = outcome;
    if shell.broken(Break::LostIsRefused) && outcome == Sent::Lost {
        outcome = Sent::Rejected;
    }
    match classify(&sent(shell.view(), outcome), &listed, &baseline) {
        Outcome::Created => {
            if let Sent::Answered(answer) = outcome {
                shell.memory().known |= bit(answer.number);
            }
            shell.view().sent = Some((intent, outcome));
        }
        Outcome::Rejected => {
            shell.memory().intent = Some((intent, Fate::Rejected));
            shell.view().sent = Some((intent, outcome));
        }
        Outcome::Ambiguous if shell.broken(Break::BlindRetry) && outcome == Sent::Lost => {
            send(shell, intent);
        }
        Outcome::Ambiguous => (shell.view().sent, shell.view().listed) = (None, None),
        Outcome::Referenced | Outcome::NotSent => shell.view().sent = Some((intent, outcome)),
    }
    shell.remember();
}

/// Whether this resource may take that version away.
fn judge_removal(shell: &mut Shell<'_>, number: u8) {
    let c = shell.c;
    // One made at the console with equal bytes while an intent was open is taken for ours, as documented.
    let recorded = shell.world.objects[c].status.history.iter().any(|r| r.number == number && r.created);
    let made_for = shell.world.remote[usize::from(number) - 1].made_for;
    let made_here = recorded && made_for.is_none_or(|(maker, _)| usize::from(maker) == c);
    let in_use = shell.world.objects.iter().enumerate().any(|(index, other)| {
        let serves = other.status.current.is_some_and(|current| current.number == number);
        index != c && other.exists && !other.deleting && serves
    });
    if !made_here || in_use {
        shell.world.broken = shell.world.broken.or(Some(Broken::NotOurs));
    }
}

fn set_state(shell: &mut Shell<'_>, number: u8, active: bool) {
    if !active {
        judge_removal(shell, number);
    }
    let version = &mut shell.world.remote[usize::from(number) - 1];
    if version.gone {
        shell.view().trouble = true;
        return;
    }
    version.active = active;
    version.switched += 1;
    let now = seen(number, version);
    let view = shell.view();
    for old in view.listed.iter_mut().flat_map(|(_, all)| all).filter(|s| s.number == number) {
        *old = now;
    }
}

fn delete(shell: &mut Shell<'_>, number: u8) {
    judge_removal(shell, number);
    let version = &mut shell.world.remote[usize::from(number) - 1];
    if version.gone {
        shell.view().trouble = true;
        return;
    }
    version.gone = true;
    shell.view().deleted |= bit(number);
}

fn write_target(shell: &mut Shell<'_>, number: u8) {
    let c = shell.c;
    let Some((_, value)) = shell.view().values.iter().find(|(n, _)| *n == number).copied() else {
        shell.view().target = Some((number, TargetSeen::NotServed));
        return;
    };
    let target = &mut shell.world.targets[c];
    target.value = value;
    target.rv += 1;
    let rv = target.rv;
    shell.memory().target_checked = rv;
    shell.remember();
    let view = shell.view();
    view.target_meta = rv;
    view.target_written = rv;
    view.target = Some((number, TargetSeen::Matches(rv)));
}
