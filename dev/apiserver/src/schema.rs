//! Structural schemas: unknown fields are pruned, defaults are set, values are judged. CEL rules are not evaluated.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};

use crate::refusal::Cause;

/// Takes away what the schema does not know, and nulls where none may be.
pub(crate) fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let keeps_all = schema["x-kubernetes-preserve-unknown-fields"] == true;
            map.retain(|key, value| match known(schema, key) {
                Some(property) if value.is_null() => property["nullable"] == true,
                Some(property) => {
                    prune(property, value);
                    true
                }
                None => keeps_all,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(|item| prune(&schema["items"], item)),
        _ => {}
    }
}

/// What the schema says of a field.
pub(crate) fn known<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let named = schema.get("properties").and_then(|properties| properties.get(key));
    named.or_else(|| schema.get("additionalProperties").filter(|rest| rest.is_object()))
}

/// Sets what is absent and has a default.
pub(crate) fn set_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default").filter(|_| !map.contains_key(key)) {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, value) in map {
                if let Some(property) = known(schema, key) {
                    set_defaults(property, value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| set_defaults(&schema["items"], item)),
        _ => {}
    }
}

/// What is wrong with a value.
pub(crate) fn complaints(schema: &Value, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    judge(schema, value, "", &mut causes);
    causes
}

fn judge(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(wanted) = schema["type"].as_str()
        && !fits(wanted, value)
    {
        let is = type_of(value);
        causes.push(Cause::wrong_type(path, &json!(is), &format!("{path} in body must be of type {wanted}: \"{is}\"")));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        causes.push(Cause::unsupported(path, value, allowed));
    }
    match value {
        Value::Object(map) => {
            for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(required) {
                    causes.push(Cause::required(join(path, required), ""));
                }
            }
            at_most(schema, "maxProperties", map.len(), path, causes);
            for (key, value) in map {
                if let Some(property) = known(schema, key) {
                    judge(property, value, &join(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            at_most(schema, "maxItems", list.len(), path, causes);
            if let Some(least) = schema["minItems"].as_u64().filter(|least| list.len() < to_size(*least)) {
                let number = list.len().into();
                causes.push(Cause::invalid(
                    path,
                    &number,
                    &format!("{path} in body should have at least {least} items"),
                ));
            }
            for (i, item) in list.iter().enumerate() {
                judge(&schema["items"], item, &format!("{path}[{i}]"), causes);
                if list[..i].iter().any(|other| are_one(schema, other, item)) {
                    causes.push(Cause::duplicate(format!("{path}[{i}]"), &identity(schema, item)));
                }
            }
        }
        Value::String(text) => judge_text(schema, text, path, causes),
        Value::Number(number) => judge_number(schema, number.as_f64().unwrap_or_default(), value, path, causes),
        _ => {}
    }
}

fn judge_text(schema: &Value, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let value = Value::from(text);
    let length = text.chars().count();
    // The first of these is the only one that is told.
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > to_size(*most)) {
        causes.push(Cause::too_long(path, most));
    } else if let Some(least) = schema["minLength"].as_u64().filter(|least| length < to_size(*least)) {
        causes.push(Cause::invalid(path, &value, &format!("{path} in body should be at least {least} chars long")));
    } else if let Some(pattern) = schema["pattern"].as_str()
        && !is_match(pattern, text)
    {
        causes.push(Cause::invalid(path, &value, &format!("{path} in body should match '{pattern}'")));
    }
    if schema["format"] == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
        causes.push(Cause::invalid(path, &value, &format!("{path} in body must be of type date-time: {value}")));
    }
}

/// Whether a text matches a pattern. Patterns are few, and take far longer to compile than to apply.
fn is_match(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Option<Regex>>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let pattern = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
    })
}

fn judge_number(schema: &Value, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        causes.push(Cause::invalid(path, value, &format!("{path} in body should be less than or equal to {most}")));
    }
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        causes.push(Cause::invalid(path, value, &format!("{path} in body should be greater than or equal to {least}")));
    }
}

fn at_most(schema: &Value, word: &str, number: usize, path: &str, causes: &mut Vec<Cause>) {
    if let Some(most) = schema[word].as_u64().filter(|most| number > to_size(*most)) {
        causes.push(Cause::too_many(path, number, most));
    }
}

fn to_size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What makes an item of a list the one that it is.
pub(crate) fn identity(schema: &Value, item: &Value) -> Value {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => keys.map(|key| (key.to_owned(), item[key].clone())).collect(),
        _ => item.clone(),
    }
}

fn are_one(schema: &Value, one: &Value, other: &Value) -> bool {
    matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set"))
        && identity(schema, one) == identity(schema, other)
}

fn fits(wanted: &str, value: &Value) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        wanted => wanted == type_of(value),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
