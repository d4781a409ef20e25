//! Puts what is applied into what is there, and takes out what is no longer applied.

use serde_json::Value;

use super::compare::{is_empty, item_step, merges};
use super::set::Step;
use crate::schema::known;

/// The object with all of `applied` in it.
pub(super) fn merge(schema: &Value, live: &Value, applied: &Value) -> Value {
    if !merges(schema, applied) || !merges(schema, live) {
        return applied.clone();
    }
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (key, value) in applied {
                let below = known(schema, key).unwrap_or(&Value::Null);
                let value = live.get(key).map_or_else(|| value.clone(), |live| merge(below, live, value));
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(applied)) => {
            let mut merged = live.clone();
            for item in applied {
                let step = item_step(schema, item);
                match merged.iter_mut().find(|other| item_step(schema, other) == step) {
                    Some(found) => *found = merge(&schema["items"], found, item),
                    None => merged.push(item.clone()),
                }
            }
            Value::Array(merged)
        }
        _ => applied.clone(),
    }
}

/// Takes out what is at a path; what is left empty by that goes, too.
pub(super) fn remove(schema: &Value, value: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (value, first) {
        (Value::Object(map), Step::Field(name)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(below) = map.get_mut(name) {
                remove(known(schema, name).unwrap_or(&Value::Null), below, rest);
                if is_empty(below) {
                    map.remove(name);
                }
            }
        }
        (Value::Array(list), step) => {
            let found = list.iter().position(|item| item_step(schema, item) == *step);
            match found {
                Some(i) if rest.is_empty() => drop(list.remove(i)),
                Some(i) => remove(&schema["items"], &mut list[i], rest),
                None => {}
            }
        }
        _ => {}
    }
}
