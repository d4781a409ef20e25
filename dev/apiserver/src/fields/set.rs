//! Sets of paths, as `FieldsV1` writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a map.
    Field(String),
    /// An item of a list, by the fields that tell it from others, as JSON.
    Key(String),
    /// An item of a set, as JSON.
    Item(String),
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => Some(Self::Key(rest.to_owned())),
            "v" => Some(Self::Item(rest.to_owned())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Item(value) => format!("v:{value}"),
        }
    }

    /// As conflicts name it.
    fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Item(value) => format!("[={value}]"),
            Self::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let all: Vec<String> = fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
                format!("[{}]", all.join(","))
            }
        }
    }
}

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Set {
    /// Whether the path that leads here is a member.
    member: bool,
    below: BTreeMap<Step, Set>,
}

impl Set {
    pub(super) fn insert(&mut self, path: &[Step]) {
        let leaf = path.iter().fold(self, |set, step| set.below.entry(step.clone()).or_default());
        leaf.member = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.member |= other.member;
        for (step, set) in &other.below {
            let merged = both.below.get(step).map_or_else(|| set.clone(), |mine| mine.union(set));
            both.below.insert(step.clone(), merged);
        }
        both
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let both = self.below.iter().filter_map(|(step, set)| {
            let common = set.intersection(other.below.get(step)?);
            (!common.is_empty()).then(|| (step.clone(), common))
        });
        Self { member: self.member && other.member, below: both.collect() }
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let left = self.below.iter().filter_map(|(step, set)| {
            let rest = other.below.get(step).map_or_else(|| set.clone(), |other| set.difference(other));
            (!rest.is_empty()).then(|| (step.clone(), rest))
        });
        Self { member: self.member && !other.member, below: left.collect() }
    }

    /// Takes a path off, alone or with all below it.
    pub(super) fn remove(&mut self, path: &[&str], with_all_below: bool) {
        let Some((first, rest)) = path.split_first() else {
            self.member = false;
            if with_all_below {
                self.below.clear();
            }
            return;
        };
        let step = Step::Field((*first).to_owned());
        if let Some(set) = self.below.get_mut(&step) {
            set.remove(rest, with_all_below);
            if set.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// All members.
    pub(super) fn paths(&self) -> Vec<Vec<Step>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, path: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
        if self.member {
            all.push(path.clone());
        }
        for (step, set) in &self.below {
            path.push(step.clone());
            set.collect(path, all);
            path.pop();
        }
    }

    pub(super) fn parse(fields: &Value) -> Self {
        let mut set = Self::default();
        for (key, value) in fields.as_object().into_iter().flatten() {
            match Step::parse(key) {
                Some(step) => {
                    let mut below = Self::parse(value);
                    below.member |= value.as_object().is_none_or(Map::is_empty);
                    set.below.insert(step, below);
                }
                None => set.member |= key == ".",
            }
        }
        set
    }

    pub(super) fn json(&self) -> Value {
        let mut map: Map<String, Value> = self.below.iter().map(|(step, set)| (step.text(), set.json())).collect();
        if self.member && !map.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }
}

/// A path as conflicts name it.
pub(super) fn shown(path: &[Step]) -> String {
    path.iter().map(Step::shown).collect()
}
