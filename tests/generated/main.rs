//! Files that are generated from the types stay what the types say. `UPDATE=1 cargo test --test generated` rewrites them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod layers;
mod reasons;
mod reference;

use std::path::Path;
use std::{env, fs};

use secret_version_operator::api;

/// Compares a file of the repository with what it should hold, or writes it.
fn check(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("UPDATE").is_some() {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not what the types say: run `UPDATE=1 cargo test --test generated`");
}

#[test]
fn crds() {
    for crd in api::crds() {
        let file = format!("crds/{}.yaml", crd.spec.names.plural);
        check(&file, &api::crd_yaml(&crd).unwrap());
    }
}

/// The chart's copies survive an uninstall by Helm, and a prune or delete by Argo CD.
#[test]
fn crds_of_the_chart() {
    for mut crd in api::crds() {
        let annotations = crd.metadata.annotations.get_or_insert_default();
        annotations.insert("helm.sh/resource-policy".into(), "keep".into());
        annotations.insert("argocd.argoproj.io/sync-options".into(), "Prune=false,Delete=false".into());
        let file = format!("charts/secret-version-operator/files/crds/{}.yaml", crd.spec.names.plural);
        check(&file, &api::crd_yaml(&crd).unwrap());
    }
}

#[test]
fn the_yaml_of_a_definition_says_the_same() {
    for crd in api::crds() {
        let read: serde_json::Value = serde_saphyr::from_str(&api::crd_yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}

/// What tools stumble over: nulls that are stored, formats that the server warns of, and defaults, which Argo CD sees as
/// a difference for ever. The one default is the status's.
#[test]
fn a_definition_is_plain() {
    for crd in api::crds() {
        let yaml = api::crd_yaml(&crd).unwrap();
        let lines: Vec<_> = yaml.lines().map(str::trim).collect();
        for refused in ["nullable:", "- null", "format: uint", "x-kubernetes-preserve-unknown-fields:"] {
            assert!(!lines.iter().any(|line| line.starts_with(refused)), "{refused} in {}", crd.spec.names.kind);
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with("default:")).count(), 1);
        let status = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let status = &status["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"], serde_json::json!({"observedGeneration": -1}));
    }
}

#[test]
fn the_field_reference() {
    check("docs/reference.md", &reference::page(&api::crds()));
}
