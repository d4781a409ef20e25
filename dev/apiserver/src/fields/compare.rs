//! What differs between two objects, path by path, and which paths an object has.

use std::collections::BTreeMap;

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
        if let (Some(old), Some(new)) = (old, new)
            && old == new
        {
            return;
        }
        let shape_of = |value: Option<&Value>| value.map(|value| shape(schema, value));
        let shape = match (shape_of(old), shape_of(new)) {
            (Some(one), Some(other)) if one != other => Shape::Leaf,
            (one, other) => other.or(one).unwrap_or(Shape::Leaf),
        };
        let both_empty = [old, new].into_iter().flatten().all(is_empty);
        if shape != Shape::Leaf && !both_empty {
            let (olds, news) = (parts(schema, old), parts(schema, new));
            let mut all: BTreeMap<Step, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
            for (step, value) in olds {
                all.entry(step).or_default().0 = Some(value);
            }
            for (step, value) in news {
                all.entry(step).or_default().1 = Some(value);
            }
            for (step, (old, new)) in all {
                let below = below(schema, &step);
                path.push(step);
                self.walk(below, old, new, path);
                path.pop();
            }
        }
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            (Some(_), Some(_)) if shape == Shape::Leaf || both_empty => self.modified.insert(path),
            _ => {}
        }
    }
}

/// Whether a map or a list has no parts.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn below<'a>(schema: &'a Value, step: &Step) -> &'a Value {
    match step {
        Step::Field(name) => known(schema, name).unwrap_or(&Value::Null),
        Step::Key(_) | Step::Item(_) => &schema["items"],
    }
}

/// The parts of a map or a list, each by its step.
fn parts<'a>(schema: &Value, value: Option<&'a Value>) -> Vec<(Step, &'a Value)> {
    match value {
        Some(Value::Object(map)) => map.iter().map(|(key, value)| (Step::Field(key.clone()), value)).collect(),
        Some(Value::Array(list)) => list.iter().map(|item| (item_step(schema, item), item)).collect(),
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
    for (step, part) in parts(schema, Some(value)) {
        let is_field = matches!(&step, Step::Field(name) if schema["properties"].get(name).is_some());
        let below = below(schema, &step);
        path.push(step);
        collect(below, part, path, set);
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
