//! The arrows between modules point one way, and the rules stay pure.

use std::fs;
use std::path::{Path, PathBuf};

/// What a module must not name: the module, and the words.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "src/domain",
        &[
            "crate::cli",
            "crate::config",
            "crate::controller",
            "crate::lease",
            "crate::ops",
            "crate::remote",
            "crate::run",
            "tokio",
            "reqwest",
            "kube::Client",
            "kube::Api",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "rand",
            "async ",
        ],
    ),
    ("src/api", &["crate::domain", "crate::remote", "crate::controller", "tokio", "reqwest"]),
    ("src/remote", &["crate::controller", "crate::ops", "crate::run", "kube::"]),
    ("src/lease", &["crate::controller", "crate::remote", "crate::domain"]),
];

#[test]
fn no_module_names_what_it_must_not() {
    let mut looked_at = 0;
    for (folder, words) in FORBIDDEN {
        for file in sources(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).as_path()) {
            looked_at += 1;
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for word in words {
                    assert!(!names(line, word), "{} names {word}: {line}", file.display());
                }
            }
        }
    }
    assert!(looked_at > 30, "only {looked_at} files were looked at");
}

/// Whether the line has the word, not as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !part(line[..at].chars().next_back())
            && (word.ends_with([':', ' ']) || !part(line[at + word.len()..].chars().next()))
    })
}

/// Every source below a folder but its tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}
