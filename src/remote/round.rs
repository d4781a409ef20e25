//! How far one look over an organization's secrets goes, page by page. Pure: it is fed ids, and says what to read next.
//!
//! A round ends as soon as everything that is looked for was seen. What is not seen in one pass may have been shifted across
//! a page's edge while the list moved, so it is looked for once more.

use std::collections::{BTreeSet, HashSet};

/// A longer list is not read, whatever is looked for.
const MOST_PAGES: u64 = 1000;

/// What to do after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the page at this offset.
    Page(u64),
    /// The round is over: what was not seen is not there.
    Done,
    /// The list covers far more than is looked for: asking for each secret by itself costs less.
    TooLong,
    /// More is promised, and nothing new comes.
    Endless,
}

/// A round under way.
#[derive(Debug)]
pub struct Round {
    unseen: BTreeSet<String>,
    rows: HashSet<String>,
    offset: u64,
    pages: u64,
    longest: u64,
    second_pass: bool,
}

impl Round {
    /// Looks for these secrets. Begin at offset 0.
    pub fn new(wanted: impl IntoIterator<Item = String>) -> Self {
        let unseen: BTreeSet<String> = wanted.into_iter().collect();
        // Beyond a page for each of them, a list of its own for each costs less.
        let longest = (unseen.len() as u64).clamp(1, MOST_PAGES);
        Self { unseen, rows: HashSet::new(), offset: 0, pages: 0, longest, second_pass: false }
    }

    /// What was not seen yet.
    pub fn unseen(&self) -> impl Iterator<Item = &str> {
        self.unseen.iter().map(String::as_str)
    }

    /// Takes in the ids of the page that was read, and says what is next.
    pub fn page<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>, has_next: bool) -> Next {
        let known = self.rows.len();
        for id in ids {
            self.offset += 1;
            self.unseen.remove(id);
            self.rows.insert(id.to_owned());
        }
        self.pages += 1;
        if self.unseen.is_empty() {
            Next::Done
        } else if !has_next {
            self.end_of_pass()
        } else if self.rows.len() == known {
            Next::Endless
        } else if self.pages >= self.longest {
            Next::TooLong
        } else {
            Next::Page(self.offset)
        }
    }

    /// One page cannot have shifted. Of several, some may have.
    fn end_of_pass(&mut self) -> Next {
        if self.pages == 1 || self.second_pass {
            return Next::Done;
        }
        (self.second_pass, self.offset, self.pages) = (true, 0, 0);
        self.rows.clear();
        Next::Page(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is looked for, the pages with whether there are more, what is next after each, and what was not seen.
    type Case = (
        &'static str,
        &'static [&'static str],
        Vec<(&'static [&'static str], bool)>,
        Vec<Next>,
        &'static [&'static str],
    );

    #[test]
    fn the_rule() {
        use Next::{Done, Endless, Page};
        let table: Vec<Case> = vec![
            ("nothing is looked for", &[], vec![(&["a"], true)], vec![Done], &[]),
            ("one page", &["a"], vec![(&["a", "b"], false)], vec![Done], &[]),
            (
                "no further than needed",
                &["a", "c"],
                vec![(&["a", "b"], true), (&["c"], true)],
                vec![Page(2), Done],
                &[],
            ),
            ("not in a single page", &["x"], vec![(&["a"], false)], vec![Done], &["x"]),
            (
                "shifted across the edge",
                &["a", "b"],
                vec![(&["a"], true), (&["c"], false), (&["b"], true)],
                vec![Page(1), Page(0), Done],
                &[],
            ),
            (
                "not there, twice",
                &["a", "x"],
                vec![(&["a"], true), (&["b"], false), (&["a"], true), (&["b"], false)],
                vec![Page(1), Page(0), Page(1), Done],
                &["x"],
            ),
            ("a page that repeats", &["a", "x"], vec![(&["a"], true), (&["a"], true)], vec![Page(1), Endless], &["x"]),
            ("nothing, and more to come", &["x"], vec![(&[], true)], vec![Endless], &["x"]),
        ];
        for (case, wanted, pages, expected, unseen) in table {
            let mut round = Round::new(wanted.iter().map(|id| (*id).to_owned()));
            let next: Vec<Next> = pages.into_iter().map(|(ids, more)| round.page(ids.iter().copied(), more)).collect();
            assert_eq!(next, expected, "{case}");
            assert_eq!(round.unseen().collect::<Vec<_>>(), unseen, "{case}");
        }
    }

    #[test]
    fn a_list_that_costs_more_than_asking_for_each_is_given_up() {
        for (wanted, pages) in [(1, 1), (2, 2), (10, 10), (10_000, 1000)] {
            let mut round = Round::new((0..wanted).map(|n| format!("wanted-{n}")));
            let read = (1..=2000).find(|page| {
                let ids = [format!("row-{page}")];
                round.page(ids.iter().map(String::as_str), true) == Next::TooLong
            });
            assert_eq!(read, Some(pages), "{wanted} secrets");
        }
    }
}
