//! Every bound of a schema, at its edge and beyond: what the schema promises is taken from the schema, and whether it holds is
//! asked of the apiserver.

use std::slice;

use secret_version_operator::api;

use super::*;

#[tokio::test]
async fn every_bound_holds() {
    let admission = Admission::start().await.unwrap();
    for (specification, crd) in specifications().into_iter().zip(api::crds()) {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let examples = Examples::of(&specification);
        let mut bounds = Vec::new();
        collect(&schema["openAPIV3Schema"]["properties"]["spec"], "/spec", &examples, &mut bounds);
        // Far fewer would mean that the walk lost its way.
        assert!(bounds.len() > 60, "{} bounds of {}", bounds.len(), specification.kind);
        for Bound { at, admitted, refused, message } in bounds {
            for object in admitted {
                let answer = admission.ask(&object).await;
                assert!(answer.is_ok(), "{} {at}: {answer:?}", specification.kind);
            }
            let answer = admission.ask(&refused).await.err().unwrap_or_default();
            assert!(
                answer.contains(message) && answer.contains(&field_path(&at)),
                "{} {at}\n  not {message}\n  but {answer}",
                specification.kind
            );
        }
    }
}

/// One bound: where it is, objects at its edge, and one beyond.
struct Bound {
    at: String,
    admitted: Vec<Value>,
    refused: Value,
    message: &'static str,
}

/// Objects that are admitted, the least first, so that a changed field meets as few rules as can be.
struct Examples(Vec<Value>);

impl Examples {
    fn of(specification: &Specification) -> Self {
        let accepted = specification.rules.iter().filter(|rule| rule.before.is_none());
        let mut objects: Vec<_> =
            accepted.flat_map(|rule| &rule.accepted).map(|patch| specification.object(patch)).collect();
        objects.sort_by_key(|object| object.to_string().len());
        Self(objects)
    }

    /// The least one that has something there.
    fn with(&self, pointer: &str) -> &Value {
        let something = |value: &Value| *value != json!({}) && *value != json!([]);
        let found = self.0.iter().find(|object| object.pointer(pointer).is_some_and(something));
        found.unwrap_or_else(|| panic!("no accepted example has {pointer}"))
    }
}

/// Adds the bounds of `schema`, and of what is below it. `pointer` says where it is in an object; of a list or a map, the
/// first element stands for all.
fn collect(schema: &Value, pointer: &str, examples: &Examples, bounds: &mut Vec<Bound>) {
    let example = examples.with(pointer);
    let value = example.pointer(pointer).unwrap();
    let set = |value: Value| {
        let mut object = example.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        object
    };
    let mut add = |admitted: &[Value], refused: Value, message| {
        let admitted = admitted.iter().cloned().map(set).collect();
        bounds.push(Bound { at: pointer.to_owned(), admitted, refused: set(refused), message });
    };
    let number = |name: &str| schema[name].as_f64();
    let limit = |name: &str| {
        schema[name]
            .as_u64()
            .and_then(|it| usize::try_from(it).ok())
            .unwrap_or_else(|| panic!("{pointer} has no {name}"))
    };

    match schema["type"].as_str().unwrap() {
        "string" => {
            add(slice::from_ref(value), json!(7), "must be of type string");
            if let Some(values) = schema["enum"].as_array() {
                add(values, json!("Other"), "Unsupported value");
                return;
            }
            let max = limit("maxLength");
            add(&[text(pointer, max)], text(pointer, max + 1), "Too long");
            if number("minLength").is_some() {
                add(&[], json!(""), "should be at least 1 chars long");
            }
            if schema["pattern"].is_string() {
                add(&[], json!("/~\n"), "should match");
            }
        }
        "integer" => {
            add(slice::from_ref(value), json!("7"), "must be of type integer");
            let min = number("minimum").unwrap();
            add(&[whole(min)], whole(min - 1.0), "should be greater than or equal to");
            if let Some(max) = number("maximum") {
                add(&[whole(max)], whole(max + 1.0), "should be less than or equal to");
            }
        }
        "boolean" => add(&[json!(true), json!(false)], json!("true"), "must be of type boolean"),
        "array" => {
            add(&[], json!("text"), "must be of type array");
            let many = |count| (0..count).map(|i| numbered(&value[0], i)).collect::<Value>();
            let max = limit("maxItems");
            add(&[many(max)], many(max + 1), "Too many");
            if number("minItems").is_some() {
                add(&[many(1)], json!([]), "should have at least 1 items");
            }
            collect(&schema["items"], &format!("{pointer}/0"), examples, bounds);
        }
        "object" => {
            add(&[], json!("text"), "must be of type object");
            if let Some(properties) = schema["properties"].as_object() {
                for name in schema["required"].as_array().into_iter().flatten() {
                    let mut without = value.clone();
                    without.as_object_mut().unwrap().remove(name.as_str().unwrap());
                    add(&[], without, "Required value");
                }
                for (name, below) in properties {
                    collect(below, &format!("{pointer}/{name}"), examples, bounds);
                }
                return;
            }
            let (key, element) = value.as_object().unwrap().iter().next().unwrap();
            let many = |count| {
                let others = (1..count).map(|i| (format!("k{i}"), element.clone()));
                others.chain([(key.clone(), element.clone())]).collect::<Value>()
            };
            let max = limit("maxProperties");
            add(&[many(max)], many(max + 1), "Too many");
            let key = key.replace('~', "~0").replace('/', "~1");
            let below = format!("{pointer}/{key}");
            collect(&schema["additionalProperties"], &below, examples, bounds);
        }
        other => panic!("{pointer} is of the type {other}"),
    }
}

/// A text of this length that meets the field's pattern.
fn text(pointer: &str, length: usize) -> Value {
    let start = match pointer {
        "/spec/url" => "https://",
        "/spec/refreshInterval" => "1h",
        _ => "",
    };
    let filler = if start == "1h" { "0h" } else { "a" };
    let mut text = start.to_owned() + &filler.repeat(length);
    text.truncate(length);
    json!(text)
}

/// An element like this one, but not its equal where the list is a map by a key.
fn numbered(element: &Value, number: usize) -> Value {
    let mut element = element.clone();
    if let Some(key) = element.get_mut("key") {
        *key = json!(format!("k{number}"));
    }
    element
}

fn whole(number: f64) -> Value {
    // Through text, because the bounds of integers come as floats.
    serde_json::from_str(&format!("{number:.0}")).unwrap()
}

/// A JSON Pointer as the apiserver writes it: `spec.target.data[0].key`.
fn field_path(pointer: &str) -> String {
    let names = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
    names.fold(String::new(), |path, name| match name.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => name,
        Err(_) => format!("{path}.{name}"),
    })
}
