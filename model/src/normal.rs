//! Renaming what has no meaning but to be equal: resource versions and ids of intents.

use crate::world::{Fate, Memory, Object, World};

/// Renames, and cuts ages at the longest that matters.
pub(crate) fn normalize(world: &mut World) {
    let mut ids = Vec::new();
    visit_ids(world, &mut |id| ids.push(*id));
    rename(&mut ids);
    visit_ids(world, &mut |id| *id = rank(&ids, *id));
    for index in 0..world.objects.len() {
        let mut versions = Vec::new();
        visit_versions(world, index, &mut |rv| versions.push(*rv));
        rename(&mut versions);
        visit_versions(world, index, &mut |rv| *rv = rank(&versions, *rv));
    }
    for process in &mut world.processes {
        process.memory.iter_mut().for_each(|memory| memory.missing.sort_unstable());
    }
    world.flights.sort_by_key(|f| (f.made_for, f.value, f.left, f.waiting, f.committed));
}

fn rename(all: &mut Vec<u8>) {
    all.push(0);
    all.sort_unstable();
    all.dedup();
}

fn rank(all: &[u8], name: u8) -> u8 {
    u8::try_from(all.binary_search(&name).unwrap_or(0)).unwrap_or(u8::MAX)
}

/// An id that nothing in the world has.
pub(crate) fn fresh_id(world: &mut World) -> u8 {
    let mut highest = 0;
    visit_ids(world, &mut |id| highest = highest.max(*id));
    highest + 1
}

fn visit_ids(world: &mut World, f: &mut impl FnMut(&mut u8)) {
    for object in &mut world.objects {
        ids_of_object(object, f);
    }
    for process in &mut world.processes {
        process.cache.iter_mut().for_each(|object| ids_of_object(object, f));
        process.own.iter_mut().flatten().for_each(|object| ids_of_object(object, f));
        process.memory.iter_mut().for_each(|memory| ids_of_memory(memory, f));
        for pass in process.passes.iter_mut().flatten() {
            ids_of_object(&mut pass.view.object, f);
            ids_of_memory(&mut pass.view.memory, f);
            f(&mut pass.view.fresh);
            if let Some((id, _)) = &mut pass.view.sent {
                f(id);
            }
        }
    }
}

fn ids_of_object(object: &mut Object, f: &mut impl FnMut(&mut u8)) {
    if let Some(intent) = &mut object.status.create {
        f(&mut intent.id);
    }
    object.status.history.iter_mut().for_each(|record| f(&mut record.intent));
}

fn ids_of_memory(memory: &mut Memory, f: &mut impl FnMut(&mut u8)) {
    if let Some((id, _)) = &mut memory.intent {
        f(id);
    }
}

fn visit_versions(world: &mut World, index: usize, f: &mut impl FnMut(&mut u8)) {
    f(&mut world.objects[index].rv);
    for process in &mut world.processes {
        f(&mut process.cache[index].rv);
        if let Some(object) = &mut process.own[index] {
            f(&mut object.rv);
        }
        if let Some(pass) = &mut process.passes[index] {
            f(&mut pass.view.object.rv);
        }
    }
}

/// A tick: what is remembered grows older.
pub(crate) fn age(memory: &mut Memory, oldest: u8, grace: u8, settle: u8) {
    if let Some((_, Fate::Ambiguous(age) | Fate::Found(age))) = &mut memory.intent {
        *age = (*age + 1).min(oldest);
    }
    if let Some(age) = &mut memory.bare {
        *age = (*age + 1).min(grace);
    }
    for (_, age) in &mut memory.missing {
        *age = (*age + 1).min(settle);
    }
}

/// As it was so many ticks before.
pub(crate) fn younger(memory: &mut Memory, ticks: u8) {
    if let Some((_, Fate::Ambiguous(age) | Fate::Found(age))) = &mut memory.intent {
        *age = age.saturating_sub(ticks);
    }
    if let Some(age) = &mut memory.bare {
        *age = age.saturating_sub(ticks);
    }
    for (_, age) in &mut memory.missing {
        *age = age.saturating_sub(ticks);
    }
}
