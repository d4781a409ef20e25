//! Whoever reads a reason in a terminal finds it in the docs, and nothing is explained there that is never said.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use secret_version_operator::domain::reason::Reason;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md")).unwrap()
}

#[test]
fn every_reason_has_its_entry() {
    let page = page();
    let explained: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let unlike: Vec<_> = explained.symmetric_difference(&reasons).collect();
    assert!(unlike.is_empty(), "docs/troubleshooting.md and the code differ about {unlike:?}");
}

#[test]
fn no_entry_is_empty() {
    let page = page();
    for entry in page.split("\n### ").skip(1) {
        let text = entry.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default();
        assert!(!text.is_empty() && !text.starts_with('#'), "{entry}");
    }
}
