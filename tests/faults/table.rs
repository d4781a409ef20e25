//! What was run, and what came of it, as rows for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

/// What one run left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Changes that the operator was to carry through.
    pub(crate) changes: usize,
    /// Versions at the remote.
    pub(crate) versions: usize,
    /// Create requests that reached the remote.
    pub(crate) posts: usize,
}

/// Rows of runs.
#[derive(Debug, Default)]
pub(crate) struct Table {
    order: Vec<String>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default)]
struct Row {
    runs: usize,
    sum: Figures,
    violations: Vec<String>,
}

impl Table {
    /// Names the rows in the order in which they are shown.
    pub(crate) fn order(&mut self, names: impl IntoIterator<Item = String>) {
        self.order.extend(names);
    }

    /// Enters a run of a row.
    pub(crate) fn enter(&mut self, name: &str, outcome: Result<Figures>) {
        let row = self.rows.entry(name.to_owned()).or_default();
        row.runs += 1;
        match outcome {
            Ok(figures) => {
                row.sum.changes += figures.changes;
                row.sum.versions += figures.versions;
                row.sum.posts += figures.posts;
            }
            Err(error) => row.violations.push(format!("{name}: {error:#}")),
        }
    }

    /// Prints the rows, and fails where a run was not as it must be.
    pub(crate) fn conclude(&self, title: &str) {
        let width = self.order.iter().map(String::len).max().unwrap_or_default();
        let mut text = format!("\n{title}\n{:width$}  runs  changes  versions  POSTs  violations\n", "");
        let mut total = (0, Figures::default(), 0);
        for name in &self.order {
            let Some(row) = self.rows.get(name) else { continue };
            let Figures { changes, versions, posts } = row.sum;
            let (runs, violations) = (row.runs, row.violations.len());
            let _ = writeln!(text, "{name:width$}  {runs:4}  {changes:7}  {versions:8}  {posts:5}  {violations:10}");
            total.0 += runs;
            total.1.changes += changes;
            total.1.versions += versions;
            total.1.posts += posts;
            total.2 += violations;
        }
        let (runs, Figures { changes, versions, posts }, violations) = total;
        let _ = writeln!(text, "{:width$}  {runs:4}  {changes:7}  {versions:8}  {posts:5}  {violations:10}", "all");
        println!("{text}");
        let all: Vec<&str> = self.rows.values().flat_map(|row| &row.violations).map(String::as_str).collect();
        assert!(all.is_empty(), "{title}: {} violations\n{}", all.len(), all.join("\n"));
    }
}
