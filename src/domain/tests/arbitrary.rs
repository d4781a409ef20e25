//! Observations at random: every field for itself, from few enough words that they meet. Most are sane, so that what is odd in
//! one place is not hidden behind what is odd in another.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use super::world::{ORGANIZATION, SECRET, SETTLE, URL, World};
use crate::api::v1alpha1::{
    Baseline, ConnectionKind, CreationPolicy, DeletionPolicy, EarlierIntent, Intent, Latest, ObjectSeen, Origin,
    Permission, Record, RefreshPolicy, SecretKeyRef, SecretVersion, SecretVersionSpec, SecretVersionStatus, Target,
    TargetData, ValueFrom, VersionRef, VersionState,
};
use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT};
use crate::domain::class::Class;
use crate::domain::observed::{
    Access, Fate, Link, Memory, Meta, NameFound, Observed, Owner, Seen, SendFailure, Sent, Settings, Side, Sight,
    Source, TargetSight, Trouble, Version, Versions,
};
use crate::domain::projection::ProjectionError;
use crate::domain::reason::Reason;

/// Mostly this, sometimes another.
fn mostly<T: Clone + Debug + 'static>(usual: T, other: impl Strategy<Value = T> + 'static) -> BoxedStrategy<T> {
    prop_oneof![24 => Just(usual), 1 => other].boxed()
}

fn word(of: &'static [&'static str]) -> BoxedStrategy<String> {
    select(of).prop_map(str::to_owned).boxed()
}

fn id() -> BoxedStrategy<String> {
    word(&["v1", "v2", "v3", "v4"]).boxed()
}

fn intent_id() -> BoxedStrategy<String> {
    word(&["intent-1", "intent-2"]).boxed()
}

fn uid() -> BoxedStrategy<String> {
    mostly("uid-1".to_owned(), word(&["", "another"]))
}

fn digest() -> BoxedStrategy<String> {
    word(&["v1.k.a", "v1.k.a", "v1.k.b", "v1.k.b", "v1.gone.a", "no digest"]).boxed()
}

fn place() -> BoxedStrategy<String> {
    mostly(format!("{URL}/{ORGANIZATION}/{SECRET}"), word(&["", "https://elsewhere/1/2"]))
}

fn time() -> BoxedStrategy<String> {
    word(&["2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z", "2023-11-14T22:13:23Z", "9999-01-01T00:00:00Z", "then", ""])
        .boxed()
}

fn number() -> BoxedStrategy<i64> {
    prop_oneof![19 => 1..5_i64, 1 => select(&[0, -1, i64::MIN, i64::MAX][..])].boxed()
}

fn span() -> BoxedStrategy<Duration> {
    let seconds = select(&[0, 1, 10, 30, 95, 600, 100_000][..]).prop_map(Duration::from_secs);
    prop_oneof![9 => seconds, 1 => Just(Duration::MAX)].boxed()
}

fn state() -> BoxedStrategy<VersionState> {
    select(&[VersionState::Active, VersionState::Active, VersionState::Inactive][..]).boxed()
}

fn sight() -> BoxedStrategy<Sight> {
    select(&[Sight::Equal, Sight::Different, Sight::Different, Sight::Unknown][..]).boxed()
}

fn reason() -> BoxedStrategy<Reason> {
    select(Reason::ALL).boxed()
}

fn object() -> BoxedStrategy<ObjectSeen> {
    (word(&["db", "db", "source", "former"]), of(word(&["uid-a", "uid-b"])), of(word(&["1", "2"])))
        .prop_map(|(name, uid, resource_version)| ObjectSeen { name, uid, resource_version })
        .boxed()
}

fn meta() -> BoxedStrategy<Meta> {
    prop_oneof![1 => Just(Meta::NotWatched), 1 => Just(Meta::Absent), 3 => object().prop_map(Meta::Present)].boxed()
}

fn version() -> BoxedStrategy<Version> {
    (id(), number(), state(), time(), time(), of(digest()), sight(), sight(), sight())
        .prop_map(|(id, number, state, created_at, updated_at, digest, is_source, is_intent, is_earlier)| Version {
            id,
            number,
            state,
            created_at,
            updated_at,
            digest,
            is_source,
            is_intent,
            is_earlier,
        })
        .boxed()
}

fn baseline() -> BoxedStrategy<Baseline> {
    (prop_oneof![Just(0), number()], of(time()))
        .prop_map(|(version, created_at)| Baseline { version, created_at })
        .boxed()
}

fn record() -> BoxedStrategy<Record> {
    let origin = select(&[Origin::Created, Origin::Created, Origin::Referenced, Origin::Observed][..]);
    // A restored copy has records of the original.
    let uid = prop_oneof![4 => Just("uid-1".to_owned()), 1 => word(&["", "another"])];
    (id(), number(), origin, digest(), uid, place(), of(time()), of(intent_id()))
        .prop_map(|(version_id, version, origin, digest, uid, place, created_at, create_id)| Record {
            version_id,
            version,
            origin,
            digest,
            uid,
            place,
            created_at,
            create_id,
        })
        .boxed()
}

fn intent() -> BoxedStrategy<Intent> {
    let head = (mostly(1, select(&[0, 2, i64::MAX][..])), intent_id(), uid(), place(), baseline(), digest());
    let attempts = prop_oneof![9 => 1..5_i64, 1 => select(&[0, -1, i64::MIN, i64::MAX][..])];
    let seconds = mostly(30, select(&[0, -1, i64::MIN, i64::MAX][..]));
    let replaced = (digest(), baseline()).prop_map(|(digest, baseline)| EarlierIntent { digest, baseline });
    let tail = (attempts, seconds, time(), weighted(0.1, Just(())), vec(replaced, 0..6));
    (head, tail)
        .prop_map(
            |(
                (schema, id, uid, place, baseline, digest),
                (attempts, timeout_seconds, started_at, withdrawn, earlier),
            )| {
                Intent {
                    schema,
                    id,
                    uid,
                    place,
                    baseline,
                    digest,
                    attempts,
                    timeout_seconds,
                    started_at,
                    withdrawn: withdrawn.is_some(),
                    earlier,
                }
            },
        )
        .boxed()
}

/// At most one of each type, as the schema has it.
fn conditions() -> BoxedStrategy<Vec<Condition>> {
    let kinds = ["Ready", "RemoteSynced", "TargetSynced", "Reconciling", "Stalled", "Suspended", "example.com/Audited"];
    let status = word(&["True", "True", "False", "Unknown"]);
    let reason = prop_oneof![9 => reason().prop_map(|r| r.as_str().to_owned()), 1 => Just("OfTomorrow".to_owned())];
    let rest = (status, reason, of(generation()), select(&[0, 4_000_000_000][..]));
    btree_map(select(kinds.to_vec()), rest, 0..6)
        .prop_map(|all| {
            let made = |(kind, (status, reason, observed_generation, at)): (&str, (String, String, _, _))| Condition {
                type_: kind.to_owned(),
                status,
                reason,
                message: "what was said".to_owned(),
                observed_generation,
                last_transition_time: Time(Timestamp::from_second(at).unwrap()),
            };
            all.into_iter().map(made).collect()
        })
        .boxed()
}

fn generation() -> BoxedStrategy<i64> {
    mostly(1, select(&[0, 2][..]))
}

fn status() -> BoxedStrategy<SecretVersionStatus> {
    let url = mostly(Some(URL.to_owned()), of(word(&["", "https://elsewhere"])));
    let organization_id = mostly(Some(ORGANIZATION.to_owned()), of(word(&["", "9"])));
    let secret_id = mostly(Some(SECRET.to_owned()), of(word(&["", "9"])));
    let version = (weighted(0.8, id()), weighted(0.8, number()), weighted(0.8, state()), of(time()));
    let origin = of(select(&[Origin::Created, Origin::Created, Origin::Referenced, Origin::Observed][..]));
    let change = (origin, weighted(0.8, digest()), weighted(0.8, object()));
    let lists = (vec(record(), 0..4), weighted(0.7, intent()), conditions());
    let rest = (of(generation()), weighted(0.8, object()), weighted(0.2, word(&["asked", "before"])));
    (url, organization_id, secret_id, version, change, lists, rest)
        .prop_map(|(url, organization_id, secret_id, version, change, (history, create, conditions), rest)| {
            SecretVersionStatus {
                url,
                organization_id,
                secret_id,
                version_id: version.0,
                version: version.1,
                state: version.2,
                updated_at: version.3,
                origin: change.0,
                digest: change.1,
                source: change.2,
                history,
                create: create.map(Box::new),
                conditions,
                observed_generation: rest.0,
                target: rest.1,
                last_handled_reconcile_at: rest.2,
            }
        })
        .boxed()
}

fn target() -> BoxedStrategy<Target> {
    use CreationPolicy::{Merge, None, Orphan, Owner};
    let data = (word(&["k", "value"]), word(&["user", "/0"])).prop_map(|(key, property)| TargetData { key, property });
    (
        of(word(&["db", "source"])),
        of(word(&["k", "value"])),
        of(select(&[Owner, Orphan, Merge, None][..])),
        vec(data, 0..3),
    )
        .prop_map(|(name, key, creation_policy, data)| Target { name, key, creation_policy, data, ..Target::default() })
        .boxed()
}

fn spec() -> BoxedStrategy<SecretVersionSpec> {
    let kind = select(&[ConnectionKind::AbejaConnection, ConnectionKind::ClusterAbejaConnection][..]);
    let secret = prop_oneof![
        18 => Just((Some(SECRET.to_owned()), None)),
        1 => Just((None, Some("db".to_owned()))),
        1 => Just((None, None)),
    ];
    let remote = (secret, weighted(0.1, word(&[ORGANIZATION, "9"])));
    let key = SecretKeyRef { name: "source".into(), key: "k".into() };
    let value_from = weighted(0.9, mostly(Some(key), Just(None)));
    let latest = of(Just(Latest::Active));
    let version_ref =
        of((of(id()), of(number()), latest).prop_map(|(id, number, latest)| VersionRef { id, number, latest }));
    let deletion = select(&[DeletionPolicy::Delete, DeletionPolicy::Deactivate, DeletionPolicy::Retain][..]);
    let refresh = select(&[RefreshPolicy::Periodic, RefreshPolicy::OnChange][..]);
    let switches = (of(state()), of(deletion), weighted(0.1, refresh), weighted(0.05, any::<bool>()));
    (kind, remote, value_from, version_ref, switches, of(target()))
        .prop_map(|(kind, (secret, organization), value_from, version_ref, switches, target)| {
            let mut spec =
                SecretVersionSpec { version_ref, target: target.map(Box::new), ..SecretVersionSpec::default() };
            (spec.connection_ref.kind, spec.connection_ref.name) = (kind, "c".into());
            (spec.remote_ref.secret_id, spec.remote_ref.secret_name) = secret;
            spec.remote_ref.organization_id = organization;
            spec.value_from = value_from.map(|secret_key_ref| ValueFrom { secret_key_ref });
            (spec.state, spec.deletion_policy, spec.refresh_policy, spec.suspend) = switches;
            spec
        })
        .boxed()
}

fn resource() -> BoxedStrategy<SecretVersion> {
    let deleted = weighted(0.25, Just(Time(Timestamp::UNIX_EPOCH)));
    let names = (mostly(Some("db".to_owned()), Just(None)), mostly(Some("uid-1".to_owned()), Just(None)));
    let finalizers = mostly(vec![FINALIZER.to_owned()], vec(word(&[FINALIZER, "example.com/audit"]), 0..3));
    let requested = weighted(0.2, word(&["asked", "before"]));
    (spec(), weighted(0.9, status()), deleted, names, finalizers, requested, of(generation()))
        .prop_map(|(spec, status, deletion_timestamp, (name, uid), finalizers, requested, generation)| {
            let mut cr = SecretVersion { spec, status, ..SecretVersion::default() };
            (cr.metadata.name, cr.metadata.uid, cr.metadata.generation) = (name, uid, generation);
            (cr.metadata.deletion_timestamp, cr.metadata.finalizers) = (deletion_timestamp, Some(finalizers));
            cr.metadata.annotations = requested.map(|token| [(RECONCILE_REQUESTED_AT.to_owned(), token)].into());
            cr
        })
        .boxed()
}

fn access() -> BoxedStrategy<Access> {
    let permission = mostly(Permission::ReadWrite, Just(Permission::Read));
    let url = mostly(URL.to_owned(), word(&["", "https://elsewhere"]));
    let organization_id = mostly(ORGANIZATION.to_owned(), word(&["", "9"]));
    let flags = (any::<bool>(), mostly(true, Just(false)), weighted(0.1, Just(())));
    (url, organization_id, permission, flags, span())
        .prop_map(|(url, organization_id, permission, (cluster, protected, deleting), timeout)| Access {
            url,
            organization_id,
            cluster,
            permission,
            protected,
            deleting: deleting.is_some(),
            timeout,
        })
        .boxed()
}

fn link() -> BoxedStrategy<Link> {
    prop_oneof![
        24 => access().prop_map(Link::Ready),
        1 => any::<bool>().prop_map(|revoked| Link::NotFound { revoked }),
        1 => reason().prop_map(|reason| Link::NotReady { reason, message: "not ready".into() }),
    ]
    .boxed()
}

fn fate() -> BoxedStrategy<Fate> {
    prop_oneof![
        Just(Fate::Fresh),
        Just(Fate::NotSent),
        Just(Fate::Rejected),
        Just(Fate::Refused),
        span().prop_map(Fate::Ambiguous),
        span().prop_map(Fate::Found),
    ]
    .boxed()
}

fn memory() -> BoxedStrategy<Memory> {
    let sets = (btree_set(id(), 0..3), btree_set(id(), 0..3), btree_set(id(), 0..3), btree_map(id(), span(), 0..3));
    let spans = (of(span()), weighted(0.1, span()), of(span()));
    (of((intent_id(), fate())), any::<bool>(), sets, spans, of(object()), of(object()))
        .prop_map(
            |(intent, finalizer_is_fresh, (gone, known, judged, missing), spans, source_checked, target_checked)| {
                Memory {
                    intent,
                    bare_for: spans.0,
                    finalizer_is_fresh,
                    create_wait: spans.1,
                    missing,
                    gone,
                    known,
                    source_checked,
                    target_checked,
                    judged,
                    unreachable_for: spans.2,
                }
            },
        )
        .boxed()
}

fn source() -> BoxedStrategy<Source> {
    let bytes = (object(), digest(), sight(), sight()).prop_map(|(object, digest, is_last, is_intent)| Source::Bytes {
        object,
        digest,
        is_last,
        is_intent,
    });
    let refused = Source::Refused("it is a token");
    let none = select(vec![Source::NotFound, Source::KeyNotFound, Source::Empty, refused]);
    prop_oneof![4 => bytes, 1 => none].boxed()
}

fn sent() -> BoxedStrategy<Sent> {
    let status = of(select(&[200_u16, 301, 400, 403, 404, 409, 422, 429, 500, 503][..]));
    let failure = (status, any::<bool>(), any::<bool>(), of(span()), reason()).prop_map(
        |(status, api_error, not_connected, retry_after, reason)| SendFailure {
            status,
            api_error,
            not_connected,
            retry_after,
            reason,
            message: "it failed".into(),
        },
    );
    prop_oneof![
        1 => Just(Sent::TooLate),
        3 => version().prop_map(Sent::Answered),
        3 => failure.prop_map(Sent::Failed),
    ]
    .boxed()
}

fn target_sight() -> BoxedStrategy<TargetSight> {
    prop_oneof![
        2 => Just(TargetSight::Absent),
        4 => object().prop_map(TargetSight::Matches),
        2 => object().prop_map(TargetSight::Differs),
        2 => select(vec![
            TargetSight::NotOwned,
            TargetSight::Leftover,
            TargetSight::Conflict("helm".into()),
            TargetSight::Invalid("it is immutable".into()),
            TargetSight::Unprojectable(ProjectionError::NotJson),
            TargetSight::Unprojectable(ProjectionError::Missing("user".into())),
            TargetSight::NotServed,
        ]),
    ]
    .boxed()
}

fn trouble() -> BoxedStrategy<Trouble> {
    let fixed = select(vec![Class::Transient, Class::Denied, Class::Invalid, Class::Conflict, Class::Bug]);
    let class = prop_oneof![3 => fixed, 1 => span().prop_map(Class::Throttled)];
    (select(&[Side::Remote, Side::Target][..]), class, reason())
        .prop_map(|(side, class, reason)| Trouble { side, class, reason, message: "it failed".into() })
        .boxed()
}

fn name() -> BoxedStrategy<NameFound> {
    let several = NameFound::Several(vec!["2".into(), "3".into()]);
    select(vec![NameFound::One(SECRET.into()), NameFound::None, several, NameFound::Denied]).boxed()
}

fn seen() -> BoxedStrategy<Seen> {
    let versions = (mostly(true, Just(false)), vec(version(), 0..5)).prop_map(|(values, all)| Versions { values, all });
    let target = weighted(0.7, (id(), target_sight()));
    let alone = btree_map(id(), of(version()), 0..3);
    let done = (btree_set(id(), 0..2), btree_set(id(), 0..2), weighted(0.3, object()), any::<bool>());
    let looks = (of(name()), weighted(0.8, source()), weighted(0.9, versions), alone, target);
    (looks, weighted(0.3, (intent_id(), sent())), done, weighted(0.05, trouble()))
        .prop_map(|((name, source, versions, version, target), sent, done, trouble)| Seen {
            name,
            source,
            versions,
            version,
            target,
            sent,
            deleted: done.0,
            deactivate_first: done.1,
            target_written: done.2,
            former_target_done: done.3,
            trouble,
        })
        .boxed()
}

/// Anything that could be known of a resource, and much that could not.
pub(super) fn observed() -> BoxedStrategy<Observed> {
    let clock = (select(&[0, 1_700_000_000, 253_000_000_000][..]), span());
    let owner = mostly(Owner::This, Just(Owner::Other("ns/first".into())));
    let flags = (mostly(true, Just(false)), any::<bool>(), any::<bool>());
    let metas = (meta(), meta(), btree_set(id(), 0..2));
    (resource(), clock, owner, flags, metas, link(), memory(), seen())
        .prop_map(
            |(cr, (now, backoff), owner, (live, refresh_due, namespace_terminating), metas, link, memory, seen)| {
                Observed {
                    cr,
                    live,
                    now: Timestamp::from_second(now).unwrap(),
                    backoff,
                    refresh_due,
                    link,
                    owner,
                    served_elsewhere: metas.2,
                    namespace_terminating,
                    source_meta: metas.0,
                    target_meta: metas.1,
                    memory,
                    settings: Settings { settle: SETTLE },
                    fresh_id: "intent-new".into(),
                    seen,
                }
            },
        )
        .boxed()
}

/// A world that anything may have happened to before the process began: status edited, versions made and gone, any spec. Its facts
/// fit together, and no fault is left in it.
pub(super) fn world() -> BoxedStrategy<World> {
    let remote = vec(of((state(), word(&["a", "b", "theirs"]), mostly(true, Just(false)))), 4);
    let source = mostly(Some("a".to_owned()), select(vec![None, Some(String::new()), Some("b".to_owned())]));
    let target = of(word(&["a", "b", "edited"]));
    let others = (mostly(Owner::This, Just(Owner::Other("ns/first".into()))), weighted(0.2, id()));
    (resource(), remote, source, target, others)
        .prop_map(|(cr, remote, source, target, (owner, elsewhere))| {
            let mut world = World::new(cr, source);
            for made in remote {
                world.make(made.as_ref().map_or("gone", |(_, value, _)| value));
                let version = world.remote.last_mut().unwrap();
                match made {
                    Some((state, _, served)) => (version.state, version.served) = (state, served),
                    None => drop(world.remote.pop()),
                }
            }
            world.target = target.map(|value| (value, 0));
            // What others see to: the apiserver gives each resource a UID, nothing is recorded without a finalizer unless a person
            // took it off, and no id of an intent comes twice.
            world.cr.metadata.uid.get_or_insert("uid-1".into());
            if world.cr.status.is_some() {
                world.cr.metadata.finalizers = Some(vec![FINALIZER.into()]);
            }
            world.next_intent = 10;
            (world.owner, world.served_elsewhere) = (owner, elsewhere.into_iter().collect());
            world
        })
        .boxed()
}
