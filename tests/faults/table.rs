//! What was run, and what came of it, as rows for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::AddAssign;

use anyhow::Result;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};

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

impl Figures {
    /// What all of these left behind together. Many are looked at at the same time.
    pub(crate) async fn sum(all: impl Iterator<Item = impl Future<Output = Result<Self>>>) -> Result<Self> {
        let mut all = stream::iter(all).buffer_unordered(16);
        let mut sum = Self::default();
        while let Some(one) = all.next().await {
            sum += one?;
        }
        Ok(sum)
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.versions += other.versions;
        self.posts += other.posts;
    }
}

/// One run of a row, by its name.
pub(crate) type Run<'a> = (String, BoxFuture<'a, Result<Figures>>);

/// Names a run.
pub(crate) fn run_of<'a>(row: impl Into<String>, run: impl Future<Output = Result<Figures>> + Send + 'a) -> Run<'a> {
    (row.into(), run.boxed())
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
    /// Carries runs out, so many at the same time, and gives their rows in the order of the runs.
    pub(crate) async fn of(at_once: usize, runs: Vec<Run<'_>>) -> Self {
        let mut table = Self::default();
        for (name, _) in &runs {
            if !table.order.contains(name) {
                table.order.push(name.clone());
            }
        }
        let runs = runs.into_iter().map(|(name, run)| async move { (name, run.await) });
        let mut outcomes = stream::iter(runs).buffer_unordered(at_once);
        while let Some((name, outcome)) = outcomes.next().await {
            table.enter(&name, outcome);
        }
        drop(outcomes);
        table
    }

    /// Names the rows in the order in which they are shown.
    pub(crate) fn order(&mut self, names: impl IntoIterator<Item = String>) {
        self.order.extend(names);
    }

    /// Takes in the rows of another.
    pub(crate) fn append(&mut self, other: Self) {
        for name in other.order {
            if !self.order.contains(&name) {
                self.order.push(name);
            }
        }
        for (name, Row { runs, sum, violations }) in other.rows {
            let row = self.rows.entry(name).or_default();
            row.runs += runs;
            row.sum += sum;
            row.violations.extend(violations);
        }
    }

    /// Whether it has such a row.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.order.iter().any(|row| row == name)
    }

    /// Enters a run of a row.
    pub(crate) fn enter(&mut self, name: &str, outcome: Result<Figures>) {
        let row = self.rows.entry(name.to_owned()).or_default();
        row.runs += 1;
        match outcome {
            Ok(figures) => row.sum += figures,
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
            total.1 += row.sum;
            total.2 += violations;
        }
        let (runs, Figures { changes, versions, posts }, violations) = total;
        let _ = writeln!(text, "{:width$}  {runs:4}  {changes:7}  {versions:8}  {posts:5}  {violations:10}", "all");
        println!("{text}");
        let all: Vec<&str> = self.rows.values().flat_map(|row| &row.violations).map(String::as_str).collect();
        assert!(all.is_empty(), "{title}: {} violations\n{}", all.len(), all.join("\n"));
    }
}
