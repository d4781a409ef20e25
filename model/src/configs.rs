//! The worlds that are explored. Each has its own theme; all faults of a world may meet in every order.

use crate::config::{Config, Faults, Policy};

const NONE: Faults = Faults {
    crashes: 0,
    lease_losses: 0,
    intrusions: 0,
    lost: 0,
    rejected: 0,
    kube_lost: 0,
    edits: 0,
    made: 0,
    deleted: 0,
    unserved: 0,
    lagging: 0,
    late: 0,
    newcomers: 0,
    status_lost: 0,
    deletions: 0,
    key_lost: 0,
    syncs: 0,
    refreshes: 0,
};

const BASE: Config = Config {
    name: "",
    about: "",
    resources: 1,
    processes: 1,
    timeout: 0,
    settle: 1,
    values: 2,
    start: [1, 1],
    stale: false,
    target: None,
    policy: Policy::Delete,
    faults: NONE,
    more: NONE,
    broken: None,
};

/// Every world.
pub const ALL: [Config; 21] = [
    Config {
        name: "crashes",
        about: "one process dies anywhere, answers of both sides are lost, creates are refused, the source changes",
        timeout: 1,
        faults: Faults { crashes: 1, lost: 1, edits: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, rejected: 1, kube_lost: 1, edits: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "source",
        about: "the source changes while a create is under way: to another value, back, and on to a third",
        values: 3,
        faults: Faults { lost: 1, edits: 2, ..NONE },
        more: Faults { crashes: 1, lost: 2, edits: 2, refreshes: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "attempts",
        about: "no attempt is answered, and people ask for more",
        faults: Faults { lost: 3, syncs: 1, crashes: 1, ..NONE },
        more: Faults { crashes: 1, lost: 4, syncs: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "lag",
        about: "lists lack new versions for as long as they may",
        settle: 2,
        faults: Faults { lost: 1, edits: 1, lagging: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 2, lagging: 2, ..NONE },
        ..BASE
    },
    Config {
        name: "stale",
        about: "watches lag behind what the process wrote and what people edit",
        stale: true,
        faults: Faults { lost: 1, edits: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, kube_lost: 1, edits: 1, refreshes: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "lease",
        about: "the Lease is lost; the call under way then ends late; the next leader acts meanwhile",
        faults: Faults { lease_losses: 1, lost: 1, ..NONE },
        more: Faults { lease_losses: 2, lost: 1, kube_lost: 1, edits: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "two leaders",
        about: "two processes act at once, with no Lease between them: the second for a pass or two",
        processes: 2,
        policy: Policy::Retain,
        settle: 0,
        faults: Faults { intrusions: 2, ..NONE },
        more: Faults { intrusions: 2, lost: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "console",
        about: "somebody makes versions with equal and other bytes, deletes some, and hides values",
        faults: Faults { lost: 1, made: 1, unserved: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, made: 1, unserved: 1, refreshes: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "older",
        about: "somebody made versions before, one with the bytes that the source has now",
        faults: Faults { lost: 1, made: 2, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, made: 2, ..NONE },
        ..BASE
    },
    Config {
        name: "removed",
        about: "somebody deletes versions while creates are under way",
        faults: Faults { lost: 1, edits: 1, deleted: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, made: 1, deleted: 1, refreshes: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "late",
        about: "a create commits after every grace: a second version may be made, and is told of",
        faults: Faults { lost: 2, edits: 1, late: 1, ..NONE },
        more: Faults { crashes: 1, lost: 2, edits: 1, late: 1, refreshes: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "late and hidden",
        about: "a create commits after every grace, and lists do not show it when the change is sent again",
        faults: Faults { lost: 1, made: 1, lagging: 1, late: 1, ..NONE },
        more: Faults { lost: 2, made: 1, lagging: 1, late: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "status lost",
        about: "the status is lost at any time; the finalizer stays",
        faults: Faults { lost: 1, edits: 1, status_lost: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, status_lost: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "deletion",
        about: "the resource is deleted at any time",
        faults: Faults { lost: 1, kube_lost: 1, made: 1, deletions: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, kube_lost: 1, edits: 1, made: 1, deletions: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "deletion in a lag",
        about: "the resource is deleted while lists lack what it created",
        faults: Faults { lost: 1, lagging: 1, deletions: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, lagging: 1, deletions: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "retain",
        about: "the same without a finalizer",
        policy: Policy::Retain,
        faults: Faults { lost: 1, kube_lost: 1, edits: 1, deletions: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, kube_lost: 1, edits: 1, deletions: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "two resources",
        about: "two resources of one place in one process, with equal sources, either deleted at any time",
        resources: 2,
        stale: true,
        settle: 0,
        faults: Faults { newcomers: 1, lost: 1, ..NONE },
        more: Faults { newcomers: 1, crashes: 1, lost: 1, deletions: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "two resources, a crash",
        about: "the same, while the process dies and a fresh one leads",
        resources: 2,
        stale: true,
        settle: 0,
        faults: Faults { newcomers: 1, crashes: 1, ..NONE },
        more: Faults { newcomers: 1, crashes: 1, lost: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "two resources, two leaders",
        about: "two resources of one place, both there from the beginning, while the Lease goes to another process",
        resources: 2,
        policy: Policy::Retain,
        settle: 0,
        faults: Faults { lease_losses: 1, ..NONE },
        more: Faults { lease_losses: 1, lost: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "target",
        about: "somebody else's Secret has the target's name",
        target: Some(true),
        faults: Faults { lost: 1, kube_lost: 1, edits: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, kube_lost: 1, edits: 1, ..NONE },
        ..BASE
    },
    Config {
        name: "key lost",
        about: "the key of digests is replaced",
        faults: Faults { lost: 1, edits: 1, unserved: 1, key_lost: 1, ..NONE },
        more: Faults { crashes: 1, lost: 1, edits: 1, unserved: 1, key_lost: 1, ..NONE },
        ..BASE
    },
];
