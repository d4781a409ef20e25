//! What people do in a world: drawn from its seed, and no more than people may do.

use fastrand::Rng;

/// One thing that is done. Resources and processes are named by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The source gets a value.
    Source(usize, char),
    DeleteSource(usize),
    Create(usize),
    Delete(usize),
    State(usize, &'static str),
    Suspend(usize, bool),
    Policy(usize, &'static str),
    Rename(usize, &'static str),
    DeleteTarget(usize),
    SpoilTarget(usize),
    /// Somebody puts a label of their own on the target.
    Label(usize),
    /// Somebody makes a Secret by the other name that a target may have, or takes it away.
    Squat(usize, bool),
    Sync(usize),
    /// Somebody makes a version at the console.
    Foreign(usize),
    /// The credential is a good one, or not.
    Credential(bool),
    /// The apiserver forgets its history.
    Compact,
    Kill(usize),
    Stop(usize),
    /// Requests for the Lease stand still for so many milliseconds.
    StallLease(usize, u64),
    /// The wall clock is off by so many seconds.
    Clock(usize, i64),
}

/// What is wanted of a resource in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) exists: bool,
    pub(crate) value: char,
    pub(crate) state: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) target: &'static str,
}

/// A world's course, as far as people make it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) processes: usize,
    /// Whether each process has a Lease of its own, as where somebody set the operator up twice.
    pub(crate) rivals: bool,
    /// From when on among how many shards the work is divided. Empty: it is not.
    pub(crate) divisions: Vec<(u64, u16)>,
    /// The remote secret of each resource.
    pub(crate) places: Vec<String>,
    /// Whether a resource follows the newest version of its place, and makes none.
    pub(crate) follows: Vec<bool>,
    /// How many versions each remote secret has from the beginning: more than a page of a list, or none.
    pub(crate) old_versions: usize,
    /// What is done, by milliseconds of the world.
    pub(crate) acts: Vec<(u64, Act)>,
    pub(crate) wishes: Vec<Wish>,
    /// When the last thing is done.
    pub(crate) end: u64,
}

const STATES: [&str; 2] = ["Active", "Inactive"];
const POLICIES: [&str; 3] = ["Delete", "Deactivate", "Retain"];
/// What a target is called after its resource.
const TARGETS: [&str; 2] = ["", "-other"];

/// Processes of a world whose work is divided: where they are more than shards some stand by.
const PROCESSES: usize = 3;

impl Plan {
    /// Draws one.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let resources = [1, 1, 1, 2, 2, 3][rng.usize(..6)];
        let shared = resources > 1 && rng.u8(..4) == 0;
        let follows: Vec<bool> = (0..resources).map(|r| r > 0 && rng.u8(..4) == 0).collect();
        let place = |r: usize| format!("30000000000{:02}", if (shared && r == 1) || follows[r] { 0 } else { r });
        let processes = if rng.u8(..3) == 0 { 2 } else { 1 };
        let rivals = processes > 1 && rng.u8(..5) == 0;
        let old_versions = if rng.u8(..20) == 0 { 130 } else { 0 };
        let end = rng.u64(30_000..120_000);
        let mut wishes: Vec<Wish> = (0..resources)
            .map(|_| Wish {
                exists: true,
                value: 'A',
                state: STATES[usize::from(rng.u8(..6) == 0)],
                policy: POLICIES[rng.usize(..3)],
                target: TARGETS[0],
            })
            .collect();
        let mut acts = Vec::new();
        for _ in 0..rng.usize(2..12) {
            acts.push((rng.u64(..end), draw(rng, resources, processes)));
        }
        acts.sort_by_key(|(at, _)| *at);
        for (_, act) in &acts {
            remember(&mut wishes, act);
        }
        // The world begins with the resources, and ends with all that a person would set right.
        let begin = (0..resources).flat_map(|r| [(0, Act::Source(r, 'A')), (0, Act::Create(r))]);
        let mut acts: Vec<(u64, Act)> = begin.chain(acts).collect();
        acts.push((end, Act::Credential(true)));
        acts.extend(
            (0..resources)
                .flat_map(|r| [Act::Suspend(r, false), Act::Source(r, wishes[r].value), Act::Squat(r, false)])
                .map(|act| (end, act)),
        );
        let places = (0..resources).map(place).collect();
        Self { processes, rivals, divisions: Vec::new(), places, follows, old_versions, acts, wishes, end }
    }

    /// The same with the work divided, and divided anew while the world goes on: each process is then told to end, one sooner, one
    /// later.
    pub(crate) fn divided(mut self, rng: &mut Rng) -> Self {
        (self.processes, self.rivals) = (PROCESSES, false);
        self.divisions.push((0, rng.u16(2..=3)));
        let mut at = 0;
        for _ in 0..rng.usize(1..4) {
            at = rng.u64(at..self.end);
            self.divisions.push((at, rng.u16(1..=3)));
            self.acts.extend((0..PROCESSES).map(|p| (at + rng.u64(1..20_000), Act::Stop(p))));
        }
        self.acts.sort_by_key(|(at, _)| *at);
        self
    }

    /// Each remote secret once.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut all = self.places.clone();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn draw(rng: &mut Rng, resources: usize, processes: usize) -> Act {
    let (r, p) = (rng.usize(..resources), rng.usize(..processes));
    match rng.u8(..31) {
        0..=8 => Act::Source(r, ['A', 'B', 'C'][rng.usize(..3)]),
        9 => Act::DeleteSource(r),
        10 | 11 => Act::Delete(r),
        12 | 13 => Act::Create(r),
        14 | 15 => Act::State(r, STATES[rng.usize(..2)]),
        16 => Act::Suspend(r, rng.bool()),
        17 => Act::Policy(r, POLICIES[rng.usize(..3)]),
        18 => Act::Rename(r, TARGETS[rng.usize(..2)]),
        19 => Act::DeleteTarget(r),
        20 => Act::SpoilTarget(r),
        21 => Act::Sync(r),
        22 => Act::Foreign(r),
        23 => Act::Credential(rng.bool()),
        24 => Act::Compact,
        25 => {
            if rng.bool() {
                Act::Kill(p)
            } else {
                Act::Stop(p)
            }
        }
        26 => Act::StallLease(p, rng.u64(1000..40_000)),
        27 => Act::Label(r),
        28 | 29 => Act::Squat(r, rng.bool()),
        _ => Act::Clock(p, rng.i64(-300..300)),
    }
}

fn remember(wishes: &mut [Wish], act: &Act) {
    match act {
        Act::Source(r, value) => wishes[*r].value = *value,
        Act::Create(r) => wishes[*r].exists = true,
        Act::Delete(r) => wishes[*r].exists = false,
        Act::State(r, state) => wishes[*r].state = state,
        Act::Policy(r, policy) => wishes[*r].policy = policy,
        Act::Rename(r, target) => wishes[*r].target = target,
        _ => {}
    }
}
