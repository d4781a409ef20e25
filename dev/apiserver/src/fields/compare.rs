//! What differs between two objects, path by path, and which paths an object has.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::{Set, Step};
use crate::schema::{identity, known};

/// How a value is owned: as one, or in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Leaf,
    Map,
    /// A list whose items are known by what they hold.
    Items,
}

fn shape(schema: &Value, value: &Value) -> Shape {
    match value {
        Value::Object(_) if schema["x-kubernetes-map-type"] != "atomic" => Shape::Map,
        Value::Array(_) if matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set")) => Shape::Items,
        _ => Shape::Leaf,
    }
}

/// The differences between two objects.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Differences {
    pub(super) fn of(schema: &Value, old: &Value, new: &Value) -> Self {
        let mut all = Self::default();
        all.walk(schema, Some(old), Some(new), &mut Vec::new());
        all
    }

    pub(super) fn written(&self) -> Set {
        self.added.union(&self.modified)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn walk(&mut self, schema: &Value, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Step>) {
        let shape_of = |value: Option<&Value>| value.map(|value| shape(schema, value));
        let shape = match (shape_of(old), shape_of(new)) {
            (Some(one), Some(other)) if one != other => Shape::Leaf,
            (one, other) => other.or(one).unwrap_or(Shape::Leaf),
        };
        let both_empty = [old, new].into_iter().flatten().all(is_empty);
        if shape != Shape::Leaf && !both_empty {
            let (olds, news) = (parts(schema, old), parts(schema, new));
            let steps: BTreeSet<&Step> = olds.iter().chain(&news).map(|(step, ..)| step).collect();
            let of =
                |parts: &[(Step, Value)], step: &Step| parts.iter().find(|(s, _)| s == step).map(|(_, v)| v.clone());
            for step in steps {
                let below = below(schema, step);
                path.push(step.clone());
                self.walk(&below, of(&olds, step).as_ref(), of(&news, step).as_ref(), path);
                path.pop();
            }
        }
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            (Some(old), Some(new)) if (shape == Shape::Leaf || both_empty) && old != new => self.modified.insert(path),
            _ => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn below(schema: &Value, step: &Step) -> Value {
    match step {
        Step::Field(name) => known(schema, name).cloned().unwrap_or_default(),
        Step::Key(_) | Step::Item(_) => schema["items"].clone(),
    }
}

/// The parts of a map or a list, each by its step.
pub(super) fn parts(schema: &Value, value: Option<&Value>) -> Vec<(Step, Value)> {
    match value {
        Some(Value::Object(map)) => map.iter().map(|(key, value)| (Step::Field(key.clone()), value.clone())).collect(),
        Some(Value::Array(list)) => list.iter().map(|item| (item_step(schema, item), item.clone())).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn item_step(schema: &Value, item: &Value) -> Step {
    let identity = identity(schema, item);
    if schema["x-kubernetes-list-type"] == "map" {
        Step::Key(identity.to_string())
    } else {
        Step::Item(identity.to_string())
    }
}

/// The paths of what a client applies: leaves, items, and entries of maps, but not the fields that hold them.
pub(super) fn paths_of(schema: &Value, value: &Value) -> Set {
    let mut set = Set::default();
    collect(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: &Value, value: &Value, path: &mut Vec<Step>, set: &mut Set) {
    if shape(schema, value) == Shape::Leaf {
        set.insert(path);
        return;
    }
    let fields = schema["properties"].as_object().map_or_else(Map::new, Clone::clone);
    for (step, part) in parts(schema, Some(value)) {
        path.push(step.clone());
        collect(&below(schema, &step), &part, path, set);
        let is_field = matches!(&step, Step::Field(name) if fields.contains_key(name));
        if !is_field || part.is_null() || part.as_object().is_some_and(Map::is_empty) {
            set.insert(path);
        }
        path.pop();
    }
}

/// Whether a value is owned in parts that merge.
pub(super) fn merges(schema: &Value, value: &Value) -> bool {
    shape(schema, value) != Shape::Leaf
}
