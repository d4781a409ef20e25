//! Between the small numbers of the model and the types of the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use secret_version_operator::api::v1alpha1::{
    Baseline, ConnectionKind, ConnectionRef, CreationPolicy, DeletionPolicy, EarlierIntent, Intent, ObjectSeen, Origin,
    Permission, Record, RemoteRef, SecretKeyRef, SecretVersion, SecretVersionSpec, SecretVersionStatus, Target,
    ValueFrom, VersionState,
};
use secret_version_operator::api::{FINALIZER, RECONCILE_REQUESTED_AT};
use secret_version_operator::domain::class::Class;
use secret_version_operator::domain::condition::{get, kind};
use secret_version_operator::domain::observed as rules;
use secret_version_operator::domain::observed::{Link, Meta, Observed, Owner, Settings, Side, Sight};
use secret_version_operator::domain::place::Place;
use secret_version_operator::domain::reason::Reason;
use secret_version_operator::domain::step::Event;

use crate::config::{Config, Policy};
use crate::rules::Told;
use crate::world::{self, Fate, Memory, Numbers, Object, Seen, Sent, Status, TargetSeen, View, bit};

/// A tick: the send window, which is the shortest time that the rules know.
pub(crate) const TICK: Duration = Duration::from_secs(5);

const KINDS: [&str; 3] = [kind::READY, kind::REMOTE_SYNCED, kind::TARGET_SYNCED];

/// The place that every resource of the model lives in.
pub(crate) fn place() -> Place {
    Place { url: "https://remote".into(), organization_id: "1".into(), secret_id: "2".into() }
}

/// The digest of a value under a key.
pub(crate) fn digest(value: u8, key: u8) -> u8 {
    if value == 0 { 0 } else { value | (key << 4) }
}

/// How bytes compare with a digest.
pub(crate) fn beside(digest: u8, bytes: u8, key: u8) -> Sight {
    match digest {
        0 => Sight::Different,
        d if d >> 4 != key => Sight::Unknown,
        d if d & 15 == bytes => Sight::Equal,
        _ => Sight::Different,
    }
}

fn digest_text(digest: u8) -> String {
    format!("v1.k{}.{}", digest >> 4, digest & 15)
}

fn digest_of(text: &str) -> u8 {
    let mut parts = text.strip_prefix("v1.k").unwrap_or_default().split('.').map(|n| n.parse().unwrap_or(0));
    let (key, value): (u8, u8) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    value | (key << 4)
}

fn version_id(number: u8) -> String {
    format!("v{number}")
}

/// The number in an id such as `v3` or `i3`.
pub(crate) fn number(id: &str) -> u8 {
    id[1..].parse().unwrap_or(0)
}

fn uid(index: u8) -> String {
    format!("uid-{index}")
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap_or_default()
}

fn created_at(number: u8) -> String {
    time(i64::from(number) * 100).to_string()
}

fn updated_at(number: u8, switched: u8) -> String {
    time(i64::from(number) * 100 + i64::from(switched)).to_string()
}

fn switched(updated_at: &str) -> u8 {
    let second = updated_at.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    u8::try_from(second % 100).unwrap_or(0)
}

fn state(active: bool) -> VersionState {
    if active { VersionState::Active } else { VersionState::Inactive }
}

fn object_seen(name: &str, rv: u8) -> ObjectSeen {
    ObjectSeen { name: name.into(), uid: Some(format!("uid-{name}")), resource_version: Some(rv.to_string()) }
}

fn seen_rv(object: Option<&ObjectSeen>) -> u8 {
    object.and_then(|o| o.resource_version.as_ref()).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn present(rv: u8) -> Option<u8> {
    (rv != 0).then_some(rv)
}

fn ids(numbers: Numbers) -> BTreeSet<String> {
    (0..16).filter(|n| numbers & bit(*n) != 0).map(version_id).collect()
}

/// The reasons that tell people of a version which no record holds, or holds no longer. `LateVersion` is apart: what came in time
/// must have been recorded.
const TELLING: [Reason; 5] = [
    Reason::AmbiguousCreate,
    Reason::StatusLost,
    Reason::VersionsRetained,
    Reason::VersionInUse,
    Reason::HistoryTruncated,
];

/// What events tell.
pub(crate) fn told(events: &[Event]) -> Told {
    let of = |event: &&Event| TELLING.contains(&event.reason);
    let late = |event: &&Event| event.reason == Reason::LateVersion;
    let left = |event: &Event| event.reason == Reason::VersionsRetained && event.note.contains("under way");
    Told {
        named: named(events.iter().filter(of)),
        late: named(events.iter().filter(late)),
        left_behind: events.iter().any(left),
    }
}

fn named<'a>(events: impl Iterator<Item = &'a Event>) -> Numbers {
    let mut numbers = 0;
    for event in events {
        for word in event.note.split(|c: char| !c.is_ascii_alphanumeric()) {
            if word.len() > 1 && word.starts_with('v') && word[1..].bytes().all(|b| b.is_ascii_digit()) {
                numbers |= bit(number(word));
            }
        }
    }
    numbers
}

/// The spec that every resource of a world has.
pub(crate) fn spec(config: &Config) -> SecretVersionSpec {
    SecretVersionSpec {
        connection_ref: ConnectionRef { kind: ConnectionKind::AbejaConnection, name: "connection".into() },
        remote_ref: RemoteRef { secret_id: Some(place().secret_id), ..RemoteRef::default() },
        value_from: Some(ValueFrom { secret_key_ref: Some(SecretKeyRef { name: "source".into(), key: "k".into() }) }),
        deletion_policy: Some(match config.policy {
            Policy::Delete => DeletionPolicy::Delete,
            Policy::Retain => DeletionPolicy::Retain,
        }),
        target: Some(Box::new(Target {
            name: Some("target".into()),
            creation_policy: Some(if config.target.is_some() { CreationPolicy::Owner } else { CreationPolicy::None }),
            ..Target::default()
        })),
        ..SecretVersionSpec::default()
    }
}

/// A status in the rules' type.
pub(crate) fn status(s: &Status, index: u8) -> SecretVersionStatus {
    let place = place();
    let placed = |text: &String| s.placed.then(|| text.clone());
    let origin = |created| if created { Origin::Created } else { Origin::Referenced };
    SecretVersionStatus {
        observed_generation: s.observed.then_some(1),
        url: placed(&place.url),
        organization_id: placed(&place.organization_id),
        secret_id: placed(&place.secret_id),
        version_id: s.current.map(|c| version_id(c.number)),
        version: s.current.map(|c| i64::from(c.number)),
        state: s.current.map(|c| state(c.active)),
        updated_at: s.current.map(|c| updated_at(c.number, c.switched)),
        origin: s.current.map(|c| origin(c.created)),
        digest: present(s.digest).map(digest_text),
        source: present(s.source).map(|rv| object_seen("source", rv)),
        history: s
            .history
            .iter()
            .map(|r| Record {
                version_id: version_id(r.number),
                version: i64::from(r.number),
                origin: origin(r.created),
                digest: digest_text(r.digest),
                uid: uid(index),
                place: place.to_string(),
                created_at: Some(created_at(r.number)),
                create_id: present(r.intent).map(|id| format!("i{id}")),
            })
            .collect(),
        create: s.create.as_ref().map(|i| {
            Box::new(Intent {
                schema: 1,
                id: format!("i{}", i.id),
                uid: uid(index),
                place: place.to_string(),
                baseline: baseline(i.baseline),
                digest: digest_text(i.digest),
                attempts: i64::from(i.attempts),
                timeout_seconds: 0,
                started_at: String::new(),
                withdrawn: i.withdrawn,
                earlier: i
                    .earlier
                    .iter()
                    .map(|(digest, number)| EarlierIntent { digest: digest_text(*digest), baseline: baseline(*number) })
                    .collect(),
            })
        }),
        target: present(s.target).map(|rv| object_seen("target", rv)),
        last_handled_reconcile_at: present(s.handled).map(|n| n.to_string()),
        conditions: conditions(s),
    }
}

fn baseline(number: u8) -> Baseline {
    Baseline { version: i64::from(number), created_at: present(number).map(created_at) }
}

fn conditions(s: &Status) -> Vec<Condition> {
    let condition = |kind: &str, code: u8| Condition {
        type_: kind.into(),
        status: if code == 1 { "True" } else { "False" }.into(),
        reason: if code == 1 { Reason::Synced } else { Reason::ALL[usize::from(code - 2)] }.as_str().into(),
        message: String::new(),
        observed_generation: s.observed.then_some(1),
        last_transition_time: Time(time(0)),
    };
    let mut all: Vec<_> =
        KINDS.iter().zip(s.conditions).filter(|(_, code)| *code != 0).map(|(k, code)| condition(k, code)).collect();
    if s.conditions[0] > 1 {
        let also = if s.stalled { kind::STALLED } else { kind::RECONCILING };
        all.push(Condition { status: "True".into(), ..condition(also, s.conditions[0]) });
    }
    all
}

/// A status in the model's type.
pub(crate) fn small(s: &SecretVersionStatus) -> Status {
    let byte = |n: i64| u8::try_from(n).unwrap_or(u8::MAX);
    let code = |kind: &str| match get(&s.conditions, kind) {
        None => 0,
        Some(c) if c.status == "True" => 1,
        Some(c) => {
            let at = Reason::ALL.iter().position(|r| r.as_str() == c.reason).unwrap_or(0);
            u8::try_from(at + 2).unwrap_or(u8::MAX)
        }
    };
    Status {
        observed: s.observed_generation.is_some(),
        placed: s.secret_id.is_some(),
        current: s.version_id.as_ref().map(|id| world::Current {
            number: number(id),
            active: s.state == Some(VersionState::Active),
            switched: s.updated_at.as_deref().map_or(0, switched),
            created: s.origin == Some(Origin::Created),
        }),
        digest: s.digest.as_deref().map_or(0, digest_of),
        source: seen_rv(s.source.as_ref()),
        history: s
            .history
            .iter()
            .map(|r| world::Record {
                number: number(&r.version_id),
                created: r.origin == Origin::Created,
                digest: digest_of(&r.digest),
                intent: r.create_id.as_deref().map_or(0, number),
            })
            .collect(),
        create: s.create.as_ref().map(|i| world::Intent {
            id: number(&i.id),
            baseline: byte(i.baseline.version),
            digest: digest_of(&i.digest),
            attempts: byte(i.attempts),
            withdrawn: i.withdrawn,
            earlier: i.earlier.iter().map(|e| (digest_of(&e.digest), byte(e.baseline.version))).collect(),
        }),
        target: seen_rv(s.target.as_ref()),
        handled: s.last_handled_reconcile_at.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0),
        conditions: KINDS.map(code),
        stalled: get(&s.conditions, kind::STALLED).is_some(),
    }
}

fn resource(object: &Object, index: u8, config: &Config) -> SecretVersion {
    let mut cr = SecretVersion::new("db", spec(config));
    cr.metadata.namespace = Some("ns".into());
    cr.metadata.uid = Some(uid(index));
    cr.metadata.generation = Some(1);
    cr.metadata.deletion_timestamp = object.deleting.then(|| Time(time(0)));
    cr.metadata.finalizers = object.finalizer.then(|| vec![FINALIZER.into()]);
    cr.metadata.annotations =
        present(object.requested).map(|n| BTreeMap::from([(RECONCILE_REQUESTED_AT.into(), n.to_string())]));
    let mut status = status(&object.status, index);
    if let Some(intent) = &mut status.create {
        intent.timeout_seconds = i64::from(config.timeout) * TICK.as_secs().cast_signed();
    }
    cr.status = (status != SecretVersionStatus::default()).then_some(status);
    cr
}

/// What the rules are shown.
pub(crate) fn observed(view: &View, config: &Config) -> Observed {
    let meta = |name: &str, rv: u8| present(rv).map_or(Meta::Absent, |rv| Meta::Present(object_seen(name, rv)));
    let list = |all: &[Seen]| all.iter().map(|s| version(view, *s)).collect();
    Observed {
        cr: resource(&view.object, view.index, config),
        live: view.live,
        now: time(0),
        backoff: TICK,
        refresh_due: view.refresh,
        link: Link::Ready(rules::Access {
            url: place().url,
            organization_id: place().organization_id,
            cluster: false,
            permission: Permission::ReadWrite,
            protected: true,
            deleting: false,
            timeout: TICK * u32::from(config.timeout),
        }),
        owner: if view.claimed { Owner::Other("other".into()) } else { Owner::This },
        served_elsewhere: ids(view.served_elsewhere),
        namespace_terminating: false,
        source_meta: meta("source", view.source_meta),
        target_meta: meta("target", view.target_meta),
        memory: memory(&view.memory),
        settings: Settings { settle: TICK * u32::from(config.settle) },
        fresh_id: format!("i{}", view.fresh),
        seen: rules::Seen {
            source: view.source.map(|source| seen_source(view, source)),
            versions: view.listed.as_ref().map(|(values, all)| rules::Versions { values: *values, all: list(all) }),
            version: view.single.iter().map(|s| (version_id(s.number), Some(version(view, *s)))).collect(),
            target: view.target.map(|(number, seen)| (version_id(number), target_sight(seen))),
            sent: view.sent.map(|(id, sent)| (format!("i{id}"), self::sent(view, sent))),
            deleted: ids(view.deleted),
            target_written: present(view.target_written).map(|rv| object_seen("target", rv)),
            trouble: view.trouble.then(|| rules::Trouble {
                side: Side::Remote,
                class: Class::Transient,
                reason: Reason::RemoteUnavailable,
                message: String::new(),
            }),
            ..rules::Seen::default()
        },
    }
}

fn version(view: &View, seen: Seen) -> rules::Version {
    let value = view.values.iter().find(|(n, _)| *n == seen.number).map(|(_, value)| *value);
    let intent = view.object.status.create.as_ref();
    let sight = |f: &dyn Fn(u8) -> Sight| value.map_or(Sight::Unknown, f);
    rules::Version {
        id: version_id(seen.number),
        number: seen.number.into(),
        state: state(seen.active),
        created_at: created_at(seen.number),
        updated_at: updated_at(seen.number, seen.switched),
        digest: value.map(|value| digest_text(digest(value, view.key))),
        is_source: sight(&|value| match view.source {
            None => Sight::Unknown,
            Some(source) if source.value == value => Sight::Equal,
            Some(_) => Sight::Different,
        }),
        is_intent: sight(&|value| beside(intent.map_or(0, |i| i.digest), value, view.key)),
        is_earlier: sight(&|value| {
            let mut earlier = intent.into_iter().flat_map(|i| &i.earlier);
            let equal = earlier.any(|(digest, _)| beside(*digest, value, view.key) == Sight::Equal);
            if equal { Sight::Equal } else { Sight::Different }
        }),
    }
}

fn seen_source(view: &View, source: world::Source) -> rules::Source {
    let status = &view.object.status;
    match source.value {
        0 => rules::Source::NotFound,
        value => rules::Source::Bytes {
            object: object_seen("source", source.rv),
            digest: digest_text(digest(value, view.key)),
            is_last: beside(status.digest, value, view.key),
            is_intent: beside(status.create.as_ref().map_or(0, |i| i.digest), value, view.key),
        },
    }
}

fn target_sight(seen: TargetSeen) -> rules::TargetSight {
    match seen {
        TargetSeen::Absent => rules::TargetSight::Absent,
        TargetSeen::Matches(rv) => rules::TargetSight::Matches(object_seen("target", rv)),
        TargetSeen::Differs(rv) => rules::TargetSight::Differs(object_seen("target", rv)),
        TargetSeen::NotOwned => rules::TargetSight::NotOwned,
        TargetSeen::NotServed => rules::TargetSight::NotServed,
    }
}

/// What became of a create, in the rules' type.
pub(crate) fn sent(view: &View, sent: Sent) -> rules::Sent {
    let failure = |status| rules::SendFailure {
        status,
        api_error: status.is_some(),
        not_connected: false,
        retry_after: None,
        reason: Reason::RemoteUnavailable,
        message: String::new(),
    };
    match sent {
        Sent::TooLate => rules::Sent::TooLate,
        Sent::Answered(seen) => rules::Sent::Answered(version(view, seen)),
        Sent::Rejected => rules::Sent::Failed(failure(Some(429))),
        Sent::Lost => rules::Sent::Failed(failure(None)),
    }
}

fn memory(m: &Memory) -> rules::Memory {
    let ticks = |n: u8| TICK * u32::from(n);
    rules::Memory {
        intent: m.intent.map(|(id, fate)| {
            let fate = match fate {
                Fate::Fresh => rules::Fate::Fresh,
                Fate::NotSent => rules::Fate::NotSent,
                Fate::Rejected => rules::Fate::Rejected,
                Fate::Ambiguous(age) => rules::Fate::Ambiguous(ticks(age)),
                Fate::Found(age) => rules::Fate::Found(ticks(age)),
            };
            (format!("i{id}"), fate)
        }),
        bare_for: m.bare.map(ticks),
        finalizer_is_fresh: m.finalizer_is_ours,
        create_wait: None,
        missing: m.missing.iter().map(|(number, age)| (version_id(*number), ticks(*age))).collect(),
        gone: ids(m.gone),
        known: ids(m.known),
        source_checked: present(m.source_checked).map(|rv| object_seen("source", rv)),
        target_checked: present(m.target_checked).map(|rv| object_seen("target", rv)),
        judged: ids(m.judged),
        unreachable_for: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_way_there_and_back() {
        let full = Status {
            observed: true,
            placed: true,
            current: Some(world::Current { number: 3, active: false, switched: 2, created: true }),
            digest: digest(2, 1),
            source: 4,
            history: vec![
                world::Record { number: 1, created: false, digest: digest(1, 0), intent: 0 },
                world::Record { number: 3, created: true, digest: digest(2, 1), intent: 7 },
            ],
            create: Some(world::Intent {
                id: 7,
                baseline: 1,
                digest: digest(2, 1),
                attempts: 2,
                withdrawn: true,
                earlier: vec![(digest(1, 0), 0)],
            }),
            target: 5,
            handled: 1,
            conditions: [9, 1, 9],
            stalled: true,
        };
        for s in [full, Status::default()] {
            assert_eq!(small(&status(&s, 0)), s);
        }
    }
}
