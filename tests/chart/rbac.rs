//! The rights that the chart grants, kept as files in which a review sees each change. `UPDATE=1` rewrites them.

use std::path::Path;
use std::{env, fs};

use serde_json::Value;

use crate::render;

const VARIANTS: [(&str, &[&str]); 5] = [
    ("default", &[]),
    ("namespaced", &[r#"watchNamespaces=["billing","web"]"#]),
    ("shards", &["shards=3"]),
    ("without-secret-watches", &["secrets.watch=false"]),
    (
        "namespaced-with-cluster-resources-elsewhere",
        &[r#"watchNamespaces=["billing"]"#, r#"clusterResourceNamespace="shared""#, "rbac.aggregateToEdit=false"],
    ),
];

#[tokio::test]
async fn the_rights_are_those_on_file() {
    for (name, values) in VARIANTS {
        let text = granted(&render(values).await.unwrap());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/chart/rbac/{name}.txt"));
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(kept == text, "{name} has changed; look at it after `UPDATE=1 cargo test --test chart`\n{text}");
    }
}

#[tokio::test]
async fn without_rbac_nothing_is_granted() {
    let objects = render(&["rbac.create=false"]).await.unwrap();
    assert!(!objects.iter().any(|object| object["kind"].as_str().unwrap().contains("Role")));
}

#[tokio::test]
async fn no_right_is_one_to_get_more_rights_with() {
    for (name, values) in VARIANTS {
        for object in render(values).await.unwrap() {
            for rule in object["rules"].as_array().into_iter().flatten() {
                let words = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]];
                let words: Vec<_> = words
                    .into_iter()
                    .flat_map(|list| list.as_array().unwrap())
                    .map(|word| word.as_str().unwrap())
                    .collect();
                for refused in [
                    "*",
                    "escalate",
                    "bind",
                    "impersonate",
                    "pods",
                    "serviceaccounts",
                    "serviceaccounts/token",
                    "customresourcedefinitions",
                    "rbac.authorization.k8s.io",
                ] {
                    assert!(!words.contains(&refused), "{name}: {rule}");
                }
            }
        }
    }
}

/// One line a right: to whom, where (`*` is everywhere), what, how.
fn granted(objects: &[Value]) -> String {
    let mut lines = Vec::new();
    for binding in objects.iter().filter(|object| !object["roleRef"].is_null()) {
        let [subject] = binding["subjects"].as_array().unwrap().as_slice() else { panic!("{binding}") };
        assert_eq!(subject["kind"], "ServiceAccount");
        let place = &binding["metadata"]["namespace"];
        let role = objects.iter().find(|role| {
            role["kind"] == binding["roleRef"]["kind"]
                && role["metadata"]["name"] == binding["roleRef"]["name"]
                && role["metadata"]["namespace"] == *place
        });
        let to = format!("{}/{}", words(&subject["namespace"]), words(&subject["name"]));
        lines.extend(rights(&to, place.as_str().unwrap_or("*"), role.unwrap()));
    }
    for role in objects {
        for (label, _) in role["metadata"]["labels"].as_object().into_iter().flatten() {
            if let Some(to) = label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-") {
                lines.extend(rights(&format!("holders of {to}"), "as bound", role));
            }
        }
    }
    lines.concat()
}

fn rights(to: &str, place: &str, role: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for resource in rule["resources"].as_array().unwrap() {
            let resource = [words(&rule["apiGroups"]), words(resource)].join("/");
            let named =
                if rule["resourceNames"].is_null() { String::new() } else { format!(" {}", rule["resourceNames"]) };
            lines.push(format!("{to} | {place} | {resource}{named} | {}\n", words(&rule["verbs"])));
        }
    }
    lines
}

/// A text, or a list of texts, as words.
fn words(value: &Value) -> String {
    match value {
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(" "),
        other => other.as_str().unwrap().to_owned(),
    }
}
