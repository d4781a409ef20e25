//! Files that are generated from the types stay what the types say. `UPDATE=1 cargo test --test generated` rewrites them.

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
    assert!(
        found == expected,
        "{path} is not what the types say: run `UPDATE=1 cargo test --test generated`"
    );
}

#[test]
fn crds() {
    for crd in api::crds() {
        check(
            &format!("crds/{}.yaml", crd.spec.names.plural),
            &api::crd_yaml(&crd).unwrap(),
        );
    }
}
