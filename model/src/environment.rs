//! All that may happen next: steps of passes, time, the remote, people, faults.

use crate::breaks::Break;
use crate::config::Config;
use crate::effects::note_outcome;
use crate::normal::{age, normalize};
use crate::rules::{Rules, is_look};
use crate::shell::{Shell, Stepped, is_open, numbered, seen};
use crate::world::{Flight, Memory, Object, Pass, Process, Sent, Source, Status, Target, Truth, Version, World};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Action {
    /// A process begins a pass over a resource.
    Begin { process: u8, resource: u8, refresh: bool },
    /// A pass takes its next step.
    Step { process: u8, resource: u8 },
    /// A pass writes to the apiserver and gets no answer.
    StepAnswerLost { process: u8, resource: u8 },
    /// The leader dies, and a fresh process leads.
    Crash { process: u8 },
    /// The leader loses its Lease: a fresh process leads, the old one ends with the call that it has begun.
    LeaseLost,
    /// A watch catches up with a resource.
    SyncResource { process: u8, resource: u8 },
    /// A watch catches up with a source.
    SyncSource { process: u8, resource: u8 },
    /// Time passes.
    Tick,
    /// The remote carries out a create; lists show it at once, or not yet.
    Commit { flight: u8, hidden: bool },
    /// A create is lost on its way.
    Vanish { flight: u8 },
    /// The answer to a create arrives.
    Answer { process: u8, resource: u8 },
    /// A create ends without an answer.
    NoAnswer { process: u8, resource: u8 },
    /// A create is refused.
    Refuse { process: u8, resource: u8 },
    /// Lists show a version.
    Show { number: u8 },
    /// A source is edited.
    Edit { resource: u8, value: u8 },
    /// Somebody makes a version.
    Make { value: u8 },
    /// Somebody deletes a version.
    Remove { number: u8 },
    /// A version's value is no longer served.
    Unserve { number: u8 },
    /// The first resource is created.
    Appear,
    /// A status is lost.
    LoseStatus { resource: u8 },
    /// A resource is deleted.
    Delete { resource: u8 },
    /// The key of digests is replaced, and every process begins anew.
    LoseKey,
    /// A person asks for a sync.
    Sync { resource: u8 },
}

const MOST_VERSIONS: usize = 6;

/// The beginning.
pub(crate) fn initial(config: &Config) -> World {
    let object =
        Object { exists: true, rv: 1, deleting: false, finalizer: false, requested: 0, status: Status::default() };
    let count = usize::from(config.resources);
    let mut objects = vec![object; count];
    objects[0].exists = config.faults.newcomers == 0;
    let sources: Vec<Source> = (0..count).map(|i| Source { value: config.start[i], rv: 1 }).collect();
    let target = Target { foreign: config.target == Some(true), ..Target::default() };
    let mut world = World {
        sources,
        targets: vec![target; count],
        remote: Vec::new(),
        flights: Vec::new(),
        processes: Vec::new(),
        left: config.faults,
        truth: vec![Truth::default(); count],
        broken: None,
        objects,
    };
    world.processes = (0..config.processes).map(|_| fresh_process(&world, 1)).collect();
    normalize(&mut world);
    world
}

/// A process that begins: its caches hold a list that was begun after it took the Lease, and it knows nothing else.
fn fresh_process(world: &World, key: u8) -> Process {
    let count = world.objects.len();
    Process {
        may_act: true,
        cache: world.objects.clone(),
        sources: world.sources.iter().map(|s| s.rv).collect(),
        claimant: None,
        key,
        memory: vec![Memory::default(); count],
        own: vec![None; count],
        passes: vec![None; count],
    }
}

/// Everything that may happen.
pub(crate) fn actions(world: &World, config: &Config, all: &mut Vec<Action>) {
    for (p, process) in (0..).zip(&world.processes) {
        actions_of_process(world, config, p, process, all);
    }
    if time_may_pass(world, config) {
        all.push(Action::Tick);
    }
    let room = world.remote.len() < MOST_VERSIONS;
    for (index, flight) in (0..).zip(&world.flights) {
        if flight.committed.is_none() && room {
            all.push(Action::Commit { flight: index, hidden: false });
            if world.left.lagging > 0 && config.settle > 0 {
                all.push(Action::Commit { flight: index, hidden: true });
            }
        }
        if flight.committed.is_none() && flight.waiting.is_none() {
            all.push(Action::Vanish { flight: index });
        }
    }
    for (number, version) in numbered(&world.remote).filter(|(_, v)| !v.gone) {
        if version.hidden > 0 {
            all.push(Action::Show { number });
        } else {
            if world.left.deleted > 0 {
                all.push(Action::Remove { number });
            }
            if world.left.unserved > 0 && version.served {
                all.push(Action::Unserve { number });
            }
        }
    }
    if world.left.made > 0 && room {
        all.extend((1..=config.values).map(|value| Action::Make { value }));
    }
    if world.left.newcomers > 0 {
        all.push(Action::Appear);
    }
    if world.left.key_lost > 0 {
        all.push(Action::LoseKey);
    }
    for (resource, object) in (0..).zip(&world.objects).filter(|(_, o)| o.exists) {
        let source = world.sources[usize::from(resource)];
        if world.left.edits > 0 && !object.deleting {
            let others = (1..=config.values).filter(|value| *value != source.value);
            all.extend(others.map(|value| Action::Edit { resource, value }));
        }
        if world.left.status_lost > 0 && object.status != Status::default() {
            all.push(Action::LoseStatus { resource });
        }
        if world.left.deletions > 0 && !object.deleting {
            all.push(Action::Delete { resource });
        }
        if world.left.syncs > 0 {
            all.push(Action::Sync { resource });
        }
    }
}

fn actions_of_process(world: &World, config: &Config, p: u8, process: &Process, all: &mut Vec<Action>) {
    let acts = process.may_act || config.broken == Some(Break::LeadsOn);
    for (resource, pass) in (0..).zip(&process.passes) {
        let index = usize::from(resource);
        match pass {
            None if !acts => {}
            None => {
                let intrudes = intrudes(config, p);
                if process.cache[index].exists && (!intrudes || world.left.intrusions > 0) {
                    all.push(Action::Begin { process: p, resource, refresh: false });
                    if world.left.refreshes > 0 && process.cache[index].status.conditions[0] == 1 {
                        all.push(Action::Begin { process: p, resource, refresh: true });
                    }
                }
                if process.cache[index] != world.objects[index] {
                    all.push(Action::SyncResource { process: p, resource });
                }
                if process.sources[index] != world.sources[index].rv {
                    all.push(Action::SyncSource { process: p, resource });
                }
            }
            Some(pass) if pass.waiting => {
                let flight = flight_of(world, p, resource);
                let committed = flight.is_some_and(|f| f.committed.is_some());
                if committed {
                    all.push(Action::Answer { process: p, resource });
                } else if world.left.rejected > 0 {
                    all.push(Action::Refuse { process: p, resource });
                }
                if world.left.lost > 0 {
                    all.push(Action::NoAnswer { process: p, resource });
                }
            }
            Some(_) => {
                all.push(Action::Step { process: p, resource });
                if world.left.kube_lost > 0 {
                    all.push(Action::StepAnswerLost { process: p, resource });
                }
            }
        }
    }
    if process.may_act && world.left.crashes > 0 {
        all.push(Action::Crash { process: p });
    }
    if process.may_act && p == 0 && world.left.lease_losses > 0 {
        all.push(Action::LeaseLost);
    }
}

/// Whether a process leads beside another from the beginning.
fn intrudes(config: &Config, p: u8) -> bool {
    p > 0 && config.processes > 1
}

fn flight_of(world: &World, p: u8, resource: u8) -> Option<&Flight> {
    world.flights.iter().find(|f| f.waiting == Some(p) && f.made_for.0 == resource)
}

/// Time waits for what must happen before it goes on.
fn time_may_pass(world: &World, config: &Config) -> bool {
    let answered = world.flights.iter().all(|f| f.waiting.is_none() || f.left > config.timeout);
    let overdue = world.flights.iter().filter(|f| f.left == 0 && !f.late && f.committed.is_none()).count();
    answered && overdue <= usize::from(world.left.late) && world.remote.iter().all(|v| v.hidden != 1 || v.gone)
}

/// What comes of it. `None` where nothing does.
pub(crate) fn next(last: &World, action: Action, config: &Config, rules: &Rules) -> Option<World> {
    let mut world = last.clone();
    apply(&mut world, action, config, rules)?;
    normalize(&mut world);
    (world != *last).then_some(world)
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind of event")]
fn apply(world: &mut World, action: Action, config: &Config, rules: &Rules) -> Option<()> {
    let index = usize::from;
    match action {
        Action::Begin { process, resource, refresh } => {
            world.left.refreshes -= u8::from(refresh);
            world.left.intrusions -= u8::from(intrudes(config, process));
            let mut shell = Shell { world, config, rules, p: index(process), c: index(resource) };
            shell.begin(refresh);
            // With one resource, nothing can come between the cache and the first look at the apiserver.
            if config.resources == 1 {
                return (shell.step(false) != Stepped::Blocked).then_some(());
            }
        }
        Action::Step { process, resource } => step(world, config, rules, (process, resource), false)?,
        Action::StepAnswerLost { process, resource } => {
            let before: Vec<u8> = world.objects.iter().map(|o| o.rv).collect();
            step(world, config, rules, (process, resource), true)?;
            world.left.kube_lost -= 1;
            let written = before != world.objects.iter().map(|o| o.rv).collect::<Vec<u8>>();
            return written.then_some(());
        }
        Action::Crash { process } => {
            world.left.crashes -= 1;
            let key = world.processes[index(process)].key;
            replace(world, config, index(process), key);
        }
        Action::LeaseLost => {
            world.left.lease_losses -= 1;
            // What arrived at the last moment may have led to a write that is begun.
            for c in 0..world.objects.len() {
                if world.processes[0].passes[c].as_ref().is_some_and(|pass| pass.arriving) {
                    Shell { world, config, rules, p: 0, c }.arrive();
                }
            }
            let mut old = world.processes[0].clone();
            let key = old.key;
            old.may_act = false;
            // Who waits for an answer is ended at once; whoever else began a call ends with it.
            if config.broken != Some(Break::LeadsOn) {
                for pass in &mut old.passes {
                    let idle = |pass: &Pass| pass.waiting || is_look(&rules.decide(&pass.view, config));
                    if pass.as_ref().is_some_and(idle) {
                        *pass = None;
                    }
                }
            }
            let second = u8::try_from(world.processes.len()).unwrap_or(0);
            let waits = config.broken == Some(Break::LeadsOn);
            for flight in world.flights.iter_mut().filter(|f| f.waiting == Some(0)) {
                flight.waiting = waits.then_some(second);
            }
            world.processes.push(old);
            replace(world, config, 0, key);
        }
        Action::SyncResource { process, resource } => {
            let (p, c) = (index(process), index(resource));
            world.processes[p].cache[c] = world.objects[c].clone();
            world.processes[p].own[c] = None;
        }
        Action::SyncSource { process, resource } => {
            let (p, c) = (index(process), index(resource));
            world.processes[p].sources[c] = world.sources[c].rv;
        }
        Action::Tick => tick(world, config),
        Action::Commit { flight, hidden } => commit(world, config, index(flight), hidden),
        Action::Vanish { flight } => {
            world.flights.remove(index(flight));
        }
        Action::Answer { process, resource } => {
            let at = world.flights.iter().position(|f| f.waiting == Some(process) && f.made_for.0 == resource)?;
            let number = world.flights.remove(at).committed?;
            let answer = Sent::Answered(seen(number, &world.remote[index(number) - 1]));
            outcome(world, config, rules, (process, resource), answer);
        }
        Action::NoAnswer { process, resource } => {
            world.left.lost -= 1;
            for flight in &mut world.flights {
                if flight.waiting == Some(process) && flight.made_for.0 == resource {
                    flight.waiting = None;
                }
            }
            world.flights.retain(|f| f.waiting.is_some() || f.committed.is_none());
            outcome(world, config, rules, (process, resource), Sent::Lost);
        }
        Action::Refuse { process, resource } => {
            world.left.rejected -= 1;
            let attempts = &mut world.truth[index(resource)].attempts.1;
            *attempts = attempts.saturating_sub(1);
            world.flights.retain(|f| f.waiting != Some(process) || f.made_for.0 != resource);
            outcome(world, config, rules, (process, resource), Sent::Rejected);
        }
        Action::Show { number } => world.remote[index(number) - 1].hidden = 0,
        Action::Edit { resource, value } => {
            world.left.edits -= 1;
            let source = &mut world.sources[index(resource)];
            *source = Source { value, rv: source.rv + 1 };
        }
        Action::Make { value } => {
            world.left.made -= 1;
            let mut passes = world.processes.iter().flat_map(|p| p.passes.iter().flatten());
            let listed = passes.any(|pass| pass.view.listed.is_some());
            let mistakable = listed || world.objects.iter().any(|o| is_open(&o.status));
            world.remote.push(Version { mistakable, ..version(value, None) });
        }
        Action::Remove { number } => {
            world.left.deleted -= 1;
            // Deleted by a person before it was recorded, a change may be sent again, as documented.
            let recorded = |o: &Object| o.status.history.iter().any(|r| r.number == number);
            let unrecorded = !world.objects.iter().any(recorded);
            let version = &mut world.remote[index(number) - 1];
            version.gone = true;
            version.late |= unrecorded;
        }
        Action::Unserve { number } => {
            world.left.unserved -= 1;
            let version = &mut world.remote[index(number) - 1];
            (version.served, version.withheld) = (false, true);
        }
        Action::LoseStatus { resource } => {
            world.left.status_lost -= 1;
            let object = &mut world.objects[index(resource)];
            object.status = Status::default();
            object.rv += 1;
        }
        Action::Delete { resource } => {
            world.left.deletions -= 1;
            let object = &mut world.objects[index(resource)];
            (object.deleting, object.exists) = (true, object.finalizer);
            object.rv += 1;
        }
        Action::Appear => {
            world.left.newcomers -= 1;
            let object = &mut world.objects[0];
            object.exists = true;
            object.rv += 1;
        }
        Action::LoseKey => {
            world.left.key_lost -= 1;
            for p in 0..world.processes.len() {
                let key = world.processes[p].key + 1;
                replace(world, config, p, key);
            }
        }
        Action::Sync { resource } => {
            world.left.syncs -= 1;
            let object = &mut world.objects[index(resource)];
            object.requested += 1;
            object.rv += 1;
        }
    }
    if !config.stale {
        sync(world);
    }
    Some(())
}

fn step(
    world: &mut World,
    config: &Config,
    rules: &Rules,
    (process, resource): (u8, u8),
    answer_lost: bool,
) -> Option<()> {
    let (p, c) = (usize::from(process), usize::from(resource));
    let stepped = Shell { world, config, rules, p, c }.step(answer_lost);
    if stepped == Stepped::Blocked {
        return None;
    }
    end_if_lost(world, config, p, c);
    Some(())
}

/// A process that may not act any more asks so before its next step, and ends.
fn end_if_lost(world: &mut World, config: &Config, p: usize, c: usize) {
    if world.processes[p].may_act || config.broken == Some(Break::LeadsOn) {
        return;
    }
    world.processes[p].passes[c] = None;
    forget_ended(world);
}

fn forget_ended(world: &mut World) {
    while world.processes.last().is_some_and(|last| !last.may_act && last.passes.iter().all(Option::is_none)) {
        world.processes.pop();
    }
}

/// Puts a fresh process in the place of one.
fn replace(world: &mut World, config: &Config, p: usize, key: u8) {
    let name = u8::try_from(p).ok();
    let mut fresh = fresh_process(world, key);
    if config.broken == Some(Break::OldCacheAfterLease) {
        fresh.cache.clone_from(&world.processes[p].cache);
    }
    world.processes[p] = fresh;
    for flight in world.flights.iter_mut().filter(|f| f.waiting == name) {
        flight.waiting = None;
    }
    world.flights.retain(|f| f.waiting.is_some() || f.committed.is_none());
    if config.broken != Some(Break::LeadsOn) {
        forget_ended(world);
    }
}

fn outcome(world: &mut World, config: &Config, rules: &Rules, (process, resource): (u8, u8), sent: Sent) {
    let (p, c) = (usize::from(process), usize::from(resource));
    note_outcome(&mut Shell { world, config, rules, p, c }, sent);
}

/// Every watch catches up.
pub(crate) fn sync(world: &mut World) {
    for process in world.processes.iter_mut().filter(|p| p.may_act) {
        for (c, object) in world.objects.iter().enumerate() {
            process.cache[c] = object.clone();
            process.own[c] = None;
            process.sources[c] = world.sources[c].rv;
        }
    }
}

pub(crate) fn version(value: u8, made_for: Option<(u8, u8)>) -> Version {
    Version {
        value,
        active: true,
        served: true,
        withheld: false,
        switched: 0,
        hidden: 0,
        gone: false,
        made_for,
        mistakable: false,
        late: false,
    }
}

fn commit(world: &mut World, config: &Config, at: usize, hidden: bool) {
    world.left.lagging -= u8::from(hidden);
    let flight = &mut world.flights[at];
    let mut made = version(flight.value, Some(flight.made_for));
    made.hidden = if hidden { config.settle } else { 0 };
    made.late = flight.late;
    world.remote.push(made);
    flight.committed = u8::try_from(world.remote.len()).ok();
    if flight.waiting.is_none() {
        world.flights.remove(at);
    }
}

fn tick(world: &mut World, config: &Config) {
    let (oldest, grace, settle) = (config.oldest(), config.grace(), config.settle);
    for process in &mut world.processes {
        process.memory.iter_mut().for_each(|memory| age(memory, oldest, grace, settle));
        for pass in process.passes.iter_mut().flatten() {
            if let Some(began) = &mut pass.began {
                *began = (*began + 1).min(1);
            }
            if pass.view.listed.is_some() {
                pass.list_age = (pass.list_age + 1).min(oldest);
            }
        }
    }
    for flight in world.flights.iter_mut().filter(|f| f.committed.is_none()) {
        if flight.left == 0 && !flight.late {
            flight.late = true;
            world.left.late -= 1;
        }
        flight.left = flight.left.saturating_sub(1);
    }
    world.remote.iter_mut().for_each(|v| v.hidden = v.hidden.saturating_sub(1));
}
