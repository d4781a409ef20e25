//! What controllers do, when a test asks for it: garbage collection, and the end of namespaces.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{self, fields, meta_mut, set};
use crate::server::owner_exists;
use crate::store::{Key, World};

/// Deletes what no owner keeps, until nothing is left to do.
pub(crate) fn collect(world: &mut World) -> usize {
    let mut writes = 0;
    loop {
        let before = world.revision;
        for (key, object) in everything(world) {
            if is_waiting_for_dependents(&object) {
                release(world, &key, &object);
            } else if is_orphan(world, &object) && !object::is_deleting(&object) {
                end(world, &key, &object);
            }
        }
        if world.revision == before {
            return writes;
        }
        writes += usize::try_from(world.revision - before).unwrap_or(usize::MAX);
    }
}

fn everything(world: &World) -> Vec<(Key, Arc<Value>)> {
    let kinds: Vec<usize> = world.kinds.all().map(|(index, _)| index).collect();
    let of_kind = |index| world.of_kind(index).map(|(key, object)| (key.clone(), object.clone())).collect::<Vec<_>>();
    kinds.into_iter().flat_map(of_kind).collect()
}

fn owners(object: &Value) -> &[Value] {
    object::at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_orphan(world: &World, object: &Value) -> bool {
    let owners = owners(object);
    !owners.is_empty() && owners.iter().all(|owner| !owner_exists(world, object::namespace(object), owner))
}

/// Deletes an object, or marks it where finalizers hold it.
fn end(world: &mut World, key: &Key, object: &Value) {
    if object::finalizers(object).is_empty() {
        world.remove(key);
        return;
    }
    let now = world.timestamp();
    let mut marked = object.clone();
    let meta = meta_mut(&mut marked);
    meta.insert("deletionTimestamp".to_owned(), now);
    meta.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    if let Some(generation) = meta.get("generation").and_then(Value::as_i64) {
        meta.insert("generation".to_owned(), (generation + 1).into());
    }
    world.put(key.clone(), marked);
}

fn is_waiting_for_dependents(object: &Value) -> bool {
    let waits = |finalizer: &&str| matches!(*finalizer, "foregroundDeletion" | "orphan");
    object::is_deleting(object) && object::finalizers(object).iter().any(waits)
}

/// Sees to the dependents of an object that was deleted with a policy, and then takes its finalizer off.
fn release(world: &mut World, key: &Key, object: &Value) {
    let uid = object::meta(object, "uid").unwrap_or_default().to_owned();
    let is_owner = |owner: &Value| object::text(owner, &["uid"]) == Some(&uid);
    let dependents: Vec<_> =
        everything(world).into_iter().filter(|(_, other)| owners(other).iter().any(is_owner)).collect();
    let orphans = object::finalizers(object).contains(&"orphan");
    for (dependent, other) in &dependents {
        if orphans {
            let mut freed = (**other).clone();
            let left: Vec<Value> = owners(other).iter().filter(|owner| !is_owner(owner)).cloned().collect();
            set(meta_mut(&mut freed), "ownerReferences", (!left.is_empty()).then(|| left.into()));
            world.put(dependent.clone(), freed);
        } else if !object::is_deleting(other) {
            end(world, dependent, other);
        }
    }
    let blocked = everything(world).iter().any(|(_, other)| owners(other).iter().any(is_owner));
    if !blocked {
        without_finalizers(world, key, object, |finalizer| matches!(finalizer, "foregroundDeletion" | "orphan"));
    }
}

fn without_finalizers(world: &mut World, key: &Key, object: &Value, off: impl Fn(&str) -> bool) {
    let left: Vec<Value> = object::finalizers(object).into_iter().filter(|f| !off(f)).map(Value::from).collect();
    if left.is_empty() {
        world.remove(key);
    } else {
        let mut freed = object.clone();
        meta_mut(&mut freed).insert("finalizers".to_owned(), left.into());
        world.put(key.clone(), freed);
    }
}

/// Empties the namespaces that are being deleted, and removes those that are empty.
pub(crate) fn finalize_namespaces(world: &mut World) -> usize {
    let before = world.revision;
    let Some((index, _)) = world.kinds.named("namespaces") else { return 0 };
    let ending: Vec<(Key, Arc<Value>)> = world
        .of_kind(index)
        .filter(|(_, namespace)| object::is_deleting(namespace))
        .map(|(key, namespace)| (key.clone(), namespace.clone()))
        .collect();
    for (key, namespace) in ending {
        let name = object::name(&namespace).to_owned();
        for (key, object) in everything(world) {
            if object::namespace(&object) == name && !object::is_deleting(&object) {
                end(world, &key, &object);
            }
        }
        if everything(world).iter().any(|(_, object)| object::namespace(object) == name) {
            continue;
        }
        if object::finalizers(&namespace).is_empty() {
            world.remove(&key);
        } else {
            let mut emptied = (*namespace).clone();
            set(fields(&mut emptied["spec"]), "finalizers", None);
            if emptied != *namespace {
                world.put(key, emptied);
            }
        }
    }
    usize::try_from(world.revision - before).unwrap_or(usize::MAX)
}
