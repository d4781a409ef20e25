//! The field reference: a page of Markdown written from the definitions.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const HEAD: &str = "\
# Field reference

Every field of every resource, written from the types by `UPDATE=1 cargo test --test generated`. In a terminal,
`kubectl explain sv.spec.target` says the same. Fields in **bold** are required where what holds them is present.
";

/// The page.
pub(crate) fn page(crds: &[CustomResourceDefinition]) -> String {
    let mut page = HEAD.to_owned();
    for crd in crds {
        section(&mut page, crd).unwrap();
    }
    page
}

fn section(page: &mut String, crd: &CustomResourceDefinition) -> std::fmt::Result {
    let names = &crd.spec.names;
    let version = &crd.spec.versions[0];
    let root = serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap();
    let scope = if crd.spec.scope == "Cluster" { "cluster-wide" } else { "namespaced" };
    let short = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    writeln!(page, "\n## {}\n", names.kind)?;
    writeln!(page, "`{}/{}`, {scope}, short name {short}.\n", crd.spec.group, version.name)?;
    writeln!(page, "{}\n", text(&root["properties"]["spec"]["description"]))?;

    writeln!(page, "### Spec of {}\n", names.kind)?;
    table(page, &root["properties"]["spec"])?;
    writeln!(page, "\n### What admission refuses of {}\n", names.kind)?;
    rules(page, &root, "")?;
    writeln!(page, "\n### Status of {}\n", names.kind)?;
    table(page, &root["properties"]["status"])
}

fn table(page: &mut String, schema: &Value) -> std::fmt::Result {
    writeln!(page, "| field | type | meaning |\n| --- | --- | --- |")?;
    rows(page, schema, "")
}

fn rows(page: &mut String, schema: &Value, path: &str) -> std::fmt::Result {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let shown = if required.contains(&name.as_str()) { format!("**`{path}`**") } else { format!("`{path}`") };
        let meaning = text(&field["description"]).replace('|', "\\|").replace("\n\n", "<br>");
        writeln!(page, "| {shown} | {} | {meaning} |", kind(field))?;
        // What a condition is, Kubernetes documents.
        if name != "conditions" {
            rows(page, field, &path)?;
            rows(page, &field["items"], &format!("{path}[]"))?;
        }
    }
    Ok(())
}

/// The type with its bounds, in words.
fn kind(field: &Value) -> String {
    let limit = |name: &str| field[name].as_f64();
    let elements = &field["additionalProperties"];
    let mut words = vec![match text(&field["type"]) {
        "string" if field["enum"].is_array() => {
            let values = field["enum"].as_array().into_iter().flatten();
            return values.map(|value| format!("`{}`", text(value))).collect::<Vec<_>>().join(", ");
        }
        "array" if field["items"]["type"] == "object" => "list".to_owned(),
        "array" => format!("list of {}s", text(&field["items"]["type"])),
        "object" if elements["type"] == "object" => "map of maps".to_owned(),
        "object" if elements.is_object() => format!("map of {}s", text(&elements["type"])),
        other => other.to_owned(),
    }];
    match (limit("minimum"), limit("maximum")) {
        (Some(min), Some(max)) => words.push(format!("{min} to {max}")),
        (Some(min), None) => words.push(format!("from {min}")),
        (None, _) => {}
    }
    for (name, one, many) in
        [("maxLength", "character", "characters"), ("maxItems", "item", "items"), ("maxProperties", "entry", "entries")]
    {
        if let Some(max) = limit(name) {
            words.push(format!("at most {max} {}", if max > 1.0 { many } else { one }));
        }
    }
    words.join(", ")
}

/// The messages of the rules, each with its field.
fn rules(page: &mut String, schema: &Value, path: &str) -> std::fmt::Result {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = text(&rule["message"]);
        let field = path.strip_prefix("spec.").unwrap_or_default();
        if field.is_empty() || message.starts_with(field) {
            writeln!(page, "- {message}")?;
        } else {
            writeln!(page, "- `{field}`: {message}")?;
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rules(page, field, &path)?;
    }
    if schema["items"].is_object() {
        rules(page, &schema["items"], &format!("{path}[]"))?;
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
