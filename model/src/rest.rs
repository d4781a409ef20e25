//! When faults stop: one fair run from a state to its rest, and what must be so there.
//!
//! The run is deterministic: requests on their way end, lists and watches catch up, people make readable what they had hidden and
//! ask for a sync where they are told to; each resource gets a pass, then time goes on. Every state in which a pass is under
//! way leads on to one in which none is, so the latter alone are judged.

use secret_version_operator::domain::reason::Reason;

use crate::config::{Config, Policy};
use crate::effects::note_outcome;
use crate::environment::{Action, next, sync};
use crate::normal::normalize;
use crate::rules::Rules;
use crate::shell::{Shell, Stepped, numbered, seen};
use crate::world::{Object, Sent, World, bit};

/// More rounds than any fair run takes: three graces, each doubled, in ticks, and what comes between.
const ROUNDS: usize = 120;

/// More steps than a pass takes.
const STEPS: usize = 60;

/// Whether a state is one that is judged.
pub(crate) fn is_idle(world: &World) -> bool {
    world.processes.iter().all(|p| p.passes.iter().all(Option::is_none))
}

/// Runs to the rest. What is wrong there, if anything is.
pub(crate) fn wrong_at_rest(world: &World, config: &Config, rules: &Rules) -> Option<&'static str> {
    let mut world = world.clone();
    world.left = crate::config::Faults::default();
    world.processes.truncate(1);
    world.flights.clear();
    for version in &mut world.remote {
        (version.hidden, version.served) = (0, true);
    }
    let mut refreshed = false;
    for _ in 0..ROUNDS {
        sync(&mut world);
        let before = world.objects.clone();
        let mut all_rest = true;
        for c in 0..world.objects.len() {
            if !world.objects[c].exists {
                continue;
            }
            let Some(rests) = pass(&mut world, config, rules, c, refreshed) else { return Some("a pass does not end") };
            let stalled = world.objects[c].status.stalled;
            if stalled && reason(&world, c) == Some(Reason::CreateUnresolved) {
                world.objects[c].requested += 1;
                world.objects[c].rv += 1;
                all_rest = false;
            } else {
                // Nothing can compare what was digested with a key that is gone: people are told, and must act.
                let held = match reason(&world, c) {
                    Some(Reason::AmbiguousCreate) => world.processes[0].key > 1,
                    why => why == Some(Reason::TargetNotOwned),
                };
                all_rest &= rests || stalled || held || !world.objects[c].exists;
            }
        }
        normalize(&mut world);
        let unchanged = before == world.objects;
        if let Some(broken) = world.broken {
            return Some(broken.as_str());
        }
        match (all_rest && unchanged, refreshed) {
            (true, true) => return judge(&world, config),
            (true, false) => refreshed = true,
            (false, _) => {
                refreshed = false;
                if let Some(later) = next(&world, Action::Tick, config, rules) {
                    world = later;
                }
            }
        }
    }
    Some("never comes to rest")
}

/// One whole pass without faults. `None`: it does not end.
fn pass(world: &mut World, config: &Config, rules: &Rules, c: usize, refresh: bool) -> Option<bool> {
    let mut shell = Shell { world, config, rules, p: 0, c };
    shell.begin(refresh);
    for _ in 0..STEPS {
        if shell.pass().waiting {
            let flight = shell.world.flights.pop();
            if let Some(flight) = flight {
                let made = crate::environment::version(flight.value, Some(flight.made_for));
                shell.world.remote.push(made.clone());
                let number = u8::try_from(shell.world.remote.len()).unwrap_or(0);
                note_outcome(&mut shell, Sent::Answered(seen(number, &made)));
            }
            continue;
        }
        if let Stepped::Ended { rests } = shell.step(false) {
            return Some(rests);
        }
    }
    None
}

fn reason(world: &World, c: usize) -> Option<Reason> {
    let code = world.objects[c].status.conditions[0];
    usize::from(code).checked_sub(2).map(|at| Reason::ALL[at])
}

fn is_gone(world: &World, object: &Object) -> bool {
    object.status.current.is_some_and(|current| world.remote[usize::from(current.number) - 1].gone)
}

/// What must be so at rest.
fn judge(world: &World, config: &Config) -> Option<&'static str> {
    for (number, version) in numbered(&world.remote).filter(|(_, v)| !v.gone) {
        let Some((maker, _)) = version.made_for else { continue };
        let maker = usize::from(maker);
        let truth = &world.truth[maker];
        let object = &world.objects[maker];
        let recorded = object.exists && object.status.history.iter().any(|r| r.number == number);
        let let_go = !object.exists && (config.policy == Policy::Retain || !truth.protected || truth.left_behind);
        let held = object.exists && reason(world, maker) == Some(Reason::AmbiguousCreate);
        let reported = held || world.truth.iter().any(|t| t.reported & bit(number) != 0);
        if !recorded && !reported && !let_go && !truth.mistaken {
            return Some("a version that was created is neither recorded nor reported");
        }
    }
    let mut owners = 0;
    for (c, object) in world.objects.iter().enumerate().filter(|(_, o)| o.exists) {
        if object.deleting {
            return Some("a deletion does not end");
        }
        match reason(world, c) {
            Some(Reason::SecretClaimed) => continue,
            // The digest tells nothing any more, and neither does the remote; or the version is gone: people are told.
            Some(Reason::DigestUnknown | Reason::AmbiguousCreate) if world.processes[0].key > 1 => {
                owners += 1;
                continue;
            }
            Some(Reason::VersionGone) if is_gone(world, object) => {
                owners += 1;
                continue;
            }
            // The Secret stays whose it is; the version is recorded all the same.
            None | Some(Reason::TargetNotOwned) => owners += 1,
            Some(_) => return Some("a resource rests for a reason that is over"),
        }
        let source = world.sources[c].value;
        let status = &object.status;
        let foreign = world.targets[c].foreign;
        if object.status.conditions[0] != 1 && !foreign {
            return Some("a resource rests without a word");
        }
        if status.digest & 15 != source {
            return Some("a change is not carried through");
        }
        let current = status.current.map(|current| &world.remote[usize::from(current.number) - 1]);
        if current.is_none_or(|v| v.value != source || v.gone || !v.active) {
            return Some("the version in use is not the source's");
        }
        if config.target.is_some() && !foreign && world.targets[c].value != source {
            return Some("the target is not the source's");
        }
    }
    (owners > 1).then_some("two resources own one place")
}
