//! Every rule of `*.yaml`, tried; and no rule of a definition left out.

use std::collections::BTreeSet;

use secret_version_operator::api;

use super::*;

#[tokio::test]
async fn every_rule_refuses_and_accepts() {
    let admission = Admission::start().await.unwrap();
    for specification in specifications() {
        for (number, rule) in specification.rules.iter().enumerate() {
            let named = |patch| {
                let mut object = specification.object(patch);
                if rule.before.is_some() {
                    // Stored objects must not meet, and some are of the whole cluster.
                    object["metadata"]["name"] = json!(format!("{}-{number}", admission.namespace));
                }
                object
            };
            let stored = match &rule.before {
                Some(before) => Some(admission.store(&named(before)).await.unwrap()),
                None => None,
            };
            let answer = async |patch| match &stored {
                Some(stored) => admission.ask_update(&named(patch), stored).await,
                None => admission.ask(&named(patch)).await,
            };
            assert!(!rule.refused.is_empty() && !rule.accepted.is_empty(), "{}", rule.message);
            for patch in &rule.accepted {
                let answer = answer(patch).await;
                assert!(answer.is_ok(), "{} {patch}: {answer:?}", specification.kind);
            }
            for patch in &rule.refused {
                let answer = answer(patch).await.err().unwrap_or_default();
                assert!(
                    answer.contains(&rule.message),
                    "{} {patch}\n  not {}\n  but {answer}",
                    specification.kind,
                    rule.message
                );
            }
        }
    }
}

#[tokio::test]
async fn names_have_at_most_200_characters() {
    let admission = Admission::start().await.unwrap();
    for specification in specifications() {
        let named = |length| specification.object(&json!({"metadata": {"name": "a".repeat(length)}}));
        admission.ask(&named(200)).await.unwrap();
        let answer = admission.ask(&named(201)).await.unwrap_err();
        assert!(answer.contains("metadata.name must have at most 200 characters"), "{answer}");
    }
}

/// Spelling out the default names the same Secret, whose type stays.
#[tokio::test]
async fn naming_the_default_target_is_not_naming_another() {
    let admission = Admission::start().await.unwrap();
    let specification = &specifications()[0];
    let stored = admission.store(&specification.object(&json!({}))).await.unwrap();
    let target = |target: Value| specification.object(&json!({"spec": {"target": target}}));
    let default = target(json!({"name": "db-password", "type": "example.com/a"}));
    let answer = admission.ask_update(&default, &stored).await.unwrap_err();
    assert!(answer.contains("the type of a Secret cannot be changed"), "{answer}");
    let other = target(json!({"name": "other", "type": "example.com/a"}));
    admission.ask_update(&other, &stored).await.unwrap();
}

#[test]
fn no_rule_lacks_an_example() {
    for (specification, crd) in specifications().into_iter().zip(api::crds()) {
        assert_eq!(specification.kind, crd.spec.names.kind);
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut messages = BTreeSet::new();
        collect_messages(&schema, &mut messages);
        // It has a test of its own.
        messages.remove("metadata.name must have at most 200 characters");
        assert!(!messages.is_empty());
        for message in messages {
            let known = specification.rules.iter().any(|rule| message.starts_with(&rule.message));
            assert!(known, "{}: no example of: {message}", specification.kind);
        }
    }
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        messages.insert(rule["message"].as_str().unwrap().to_owned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| collect_messages(value, messages)),
        Value::Array(list) => list.iter().for_each(|value| collect_messages(value, messages)),
        _ => {}
    }
}
