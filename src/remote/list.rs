//! When a list that was read in pages is complete. Pure: it is fed pages, and says what to read next.
//!
//! Pages are cut by offset, so a row that comes or goes meanwhile shifts the others across the cuts, and a list may
//! lack a row that was there all the time. A list is therefore believed only when one page was all of it, or when two
//! passes in a row found the same ids; and only when it has as many as it says. That is enough where ids are never used
//! again: a row is missed only when one that was already read went, and a row that went is not found by the next pass.

use std::collections::{BTreeMap, BTreeSet};

/// Rows that are asked for at a time: the most that the API gives.
pub(super) const PAGE: u64 = 100;
/// How often a list is read before it is given up.
const PASSES: u32 = 5;
/// A longer list is not read.
const LONGEST: usize = 10_000;
/// A list in more pages is not read, however short they are.
const MOST_PAGES: u32 = 500;
/// A list of more bytes is not read. Rows of a secret manager may be large.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What one page held.
pub(super) struct Page<T> {
    /// Ids and rows, in the remote's order.
    pub(super) rows: Vec<(String, T)>,
    /// Whether the remote says that there is more.
    pub(super) has_next: bool,
    /// How many rows the remote says the whole list has, where it says so.
    pub(super) count: Option<u64>,
    /// Size of the page as it came.
    pub(super) bytes: usize,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Read the page at this offset.
    Page(u64),
    /// Read all of it again, from the start: the list was long, and must be seen twice.
    Confirm,
    /// Read all of it again, from the start, after a pause: it moved, or contradicted itself.
    Again,
    /// The list is complete.
    Complete(Vec<T>),
    /// The list was given up: it never came to rest.
    Restless,
    /// The list was given up: it is larger than is read.
    TooLarge,
}

/// A list as it is being read.
pub(super) struct Reading<T> {
    pass: Pass<T>,
    /// The ids of the pass before, where it came to an end without contradicting itself.
    before: Option<BTreeSet<String>>,
    /// Passes that came to an end.
    passes: u32,
}

/// One pass over the pages.
struct Pass<T> {
    rows: BTreeMap<String, T>,
    offset: u64,
    pages: u32,
    bytes: usize,
    /// Whether an id came twice.
    repeats: bool,
}

impl<T> Pass<T> {
    fn new() -> Self {
        Self { rows: BTreeMap::new(), offset: 0, pages: 0, bytes: 0, repeats: false }
    }
}

impl<T> Reading<T> {
    /// Nothing was read yet: begin at offset 0.
    pub(super) fn new() -> Self {
        Self { pass: Pass::new(), before: None, passes: 0 }
    }

    /// Takes in the page that was read, and says what is next.
    pub(super) fn page(&mut self, page: Page<T>) -> Next<T> {
        let pass = &mut self.pass;
        let known = pass.rows.len();
        pass.pages += 1;
        pass.bytes += page.bytes;
        // By what came, not by what was asked for: a remote may give shorter pages than it is asked for.
        pass.offset += page.rows.len() as u64;
        for (id, row) in page.rows {
            pass.repeats |= pass.rows.insert(id, row).is_some();
        }
        if pass.rows.len() > LONGEST || pass.pages > MOST_PAGES || pass.bytes > MOST_BYTES {
            return Next::TooLarge;
        }
        if !page.has_next {
            return self.end_of_pass(page.count);
        }
        // More is promised, and nothing new came: to go on could go on for ever.
        if pass.rows.len() == known {
            return self.unbelievable();
        }
        Next::Page(pass.offset)
    }

    fn end_of_pass(&mut self, count: Option<u64>) -> Next<T> {
        if count.is_some_and(|count| count != self.pass.rows.len() as u64) {
            return self.unbelievable();
        }
        let pass = std::mem::replace(&mut self.pass, Pass::new());
        let ids: BTreeSet<String> = pass.rows.keys().cloned().collect();
        if (pass.pages == 1 && !pass.repeats) || self.before.as_ref() == Some(&ids) {
            return Next::Complete(pass.rows.into_values().collect());
        }
        self.passes += 1;
        if self.passes == PASSES {
            return Next::Restless;
        }
        if self.before.replace(ids).is_some() { Next::Again } else { Next::Confirm }
    }

    /// Ends a pass that contradicts itself. It confirms nothing, and nothing may be confirmed by it.
    fn unbelievable(&mut self) -> Next<T> {
        self.pass = Pass::new();
        self.before = None;
        self.passes += 1;
        if self.passes == PASSES { Next::Restless } else { Next::Again }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    fn page(ids: &[u64], has_next: bool, count: u64) -> Page<u64> {
        let rows = ids.iter().map(|id| (id.to_string(), *id)).collect();
        Page { rows, has_next, count: Some(count), bytes: 1 }
    }

    fn sorted(next: Next<u64>) -> Next<u64> {
        match next {
            Next::Complete(mut rows) => {
                rows.sort_unstable();
                Next::Complete(rows)
            }
            other => other,
        }
    }

    /// Ids, `has_next` and `count` of a page.
    type Given = (&'static [u64], bool, u64);

    /// Its name, the pages, and what is next after each.
    type Case = (&'static str, &'static [Given], Vec<Next<u64>>);

    fn feed(pages: &[Given]) -> Vec<Next<u64>> {
        let mut reading = Reading::new();
        pages.iter().map(|(ids, has_next, count)| sorted(reading.page(page(ids, *has_next, *count)))).collect()
    }

    #[test]
    fn the_rule() {
        use Next::{Again, Complete, Confirm, Page, Restless};
        let table: &[Case] = &[
            ("one page", &[(&[1, 2], false, 2)], vec![Complete(vec![1, 2])]),
            ("an empty list", &[(&[], false, 0)], vec![Complete(vec![])]),
            (
                "two pages, twice the same",
                &[(&[1, 2], true, 3), (&[3], false, 3), (&[1, 2], true, 3), (&[3], false, 3)],
                vec![Page(2), Confirm, Page(2), Complete(vec![1, 2, 3])],
            ),
            (
                "a row deleted between the pages hides another",
                &[
                    (&[1, 2], true, 4),
                    (&[4], false, 3),
                    (&[2, 3], true, 3),
                    (&[4], false, 3),
                    (&[2, 3], true, 3),
                    (&[4], false, 3),
                ],
                vec![Page(2), Confirm, Page(2), Again, Page(2), Complete(vec![2, 3, 4])],
            ),
            (
                "a row inserted between the pages repeats another",
                &[
                    (&[1, 2], true, 3),
                    (&[2, 3], false, 4),
                    (&[0, 1], true, 4),
                    (&[2, 3], false, 4),
                    (&[0, 1], true, 4),
                    (&[2, 3], false, 4),
                ],
                vec![Page(2), Again, Page(2), Confirm, Page(2), Complete(vec![0, 1, 2, 3])],
            ),
            (
                "one page that says it has more than it has",
                &[(&[1], false, 2), (&[1, 2], false, 2)],
                vec![Again, Complete(vec![1, 2])],
            ),
            (
                "the same id twice on one page",
                &[(&[1, 1], false, 1), (&[1, 1], false, 1)],
                vec![Confirm, Complete(vec![1])],
            ),
            (
                "a promise of more that is never kept",
                &[(&[1], true, 2), (&[], true, 2), (&[], true, 2), (&[], true, 2), (&[], true, 2), (&[], true, 2)],
                vec![Page(1), Again, Again, Again, Again, Restless],
            ),
            (
                "a page that repeats",
                &[
                    (&[1, 2], true, 4),
                    (&[1, 2], true, 4),
                    (&[1, 2], true, 4),
                    (&[3, 4], false, 4),
                    (&[1, 2], true, 4),
                    (&[3, 4], false, 4),
                ],
                vec![Page(2), Again, Page(2), Confirm, Page(2), Complete(vec![1, 2, 3, 4])],
            ),
            (
                "a list that shrinks to one page",
                &[(&[1, 2], true, 3), (&[3], false, 3), (&[1], false, 1)],
                vec![Page(2), Confirm, Complete(vec![1])],
            ),
        ];
        for (name, pages, expected) in table {
            assert_eq!(&feed(pages), expected, "{name}");
        }
    }

    #[test]
    fn an_unbelievable_pass_between_two_equal_ones_keeps_them_apart() {
        let steps = feed(&[
            (&[1], true, 2),
            (&[2], false, 2),
            (&[1], true, 3),
            (&[2], false, 3),
            (&[1], true, 2),
            (&[2], false, 2),
        ]);
        assert_eq!(steps[1], Next::Confirm);
        assert_eq!(steps[3], Next::Again);
        assert_eq!(steps[5], Next::Confirm);
    }

    #[test]
    fn a_list_that_never_rests_is_given_up_after_five_passes() {
        let mut reading = Reading::new();
        for pass in 1..=5 {
            assert_eq!(reading.page(page(&[1], true, 2)), Next::Page(1));
            let next = reading.page(page(&[pass + 1], false, 2));
            let expected = match pass {
                1 => Next::Confirm,
                5 => Next::Restless,
                _ => Next::Again,
            };
            assert_eq!(next, expected, "pass {pass}");
        }
    }

    fn endless(size: Range<u64>, bytes: usize) -> u32 {
        let mut reading = Reading::new();
        let mut pages = 0;
        loop {
            let ids: Vec<u64> = size.clone().map(|id| id + u64::from(pages) * size.end).collect();
            pages += 1;
            match reading.page(Page { bytes, ..page(&ids, true, u64::MAX) }) {
                Next::Page(_) => {}
                next => {
                    assert_eq!(next, Next::TooLarge);
                    return pages;
                }
            }
        }
    }

    #[test]
    fn endless_lists_end() {
        assert_eq!(endless(0..100, 1), 101);
        assert_eq!(endless(0..1, 1), 501);
        assert_eq!(endless(0..100, 16 * 1024 * 1024), 5);
    }

    #[test]
    fn without_a_count_two_equal_passes_are_enough() {
        let bare = |ids: &[u64], has_next| Page { count: None, ..page(ids, has_next, 0) };
        let mut reading = Reading::new();
        assert_eq!(reading.page(bare(&[1], true)), Next::Page(1));
        assert_eq!(reading.page(bare(&[2], false)), Next::Confirm);
        assert_eq!(reading.page(bare(&[1], true)), Next::Page(1));
        assert_eq!(reading.page(bare(&[2], false)), Next::Complete(vec![1, 2]));
    }

    proptest! {
        /// A remote that pages honestly over a list that moves before chosen requests: a complete list is never one
        /// that lacks a row which was there from the first request to the last.
        #[test]
        fn a_complete_list_lacks_nothing_that_stood_still(
            size in 0_u64..30,
            limit in 1_usize..12,
            moves in prop::collection::vec(prop::option::of((any::<bool>(), 0_usize..40)), 0..60),
        ) {
            let mut remote: Vec<u64> = (0..size).collect();
            let mut steady: BTreeSet<u64> = remote.iter().copied().collect();
            let mut moves = moves.into_iter();
            let (mut reading, mut offset, mut fresh) = (Reading::new(), 0_usize, 1_000);
            let mut requests = 0;
            loop {
                requests += 1;
                prop_assert!(requests < 1_000);
                if let Some(Some((insert, at))) = moves.next() {
                    let at = at.min(remote.len());
                    if insert {
                        remote.insert(at, fresh);
                        fresh += 1;
                    } else if at < remote.len() {
                        steady.remove(&remote.remove(at));
                    }
                }
                let rows: Vec<u64> = remote.iter().skip(offset).take(limit).copied().collect();
                let has_next = offset + rows.len() < remote.len();
                match reading.page(page(&rows, has_next, remote.len() as u64)) {
                    Next::Page(next) => offset = usize::try_from(next).unwrap(),
                    Next::Confirm | Next::Again => offset = 0,
                    Next::Complete(rows) => {
                        let rows: BTreeSet<u64> = rows.into_iter().collect();
                        let lost: Vec<_> = steady.difference(&rows).collect();
                        prop_assert!(lost.is_empty(), "lost {lost:?}");
                        break;
                    }
                    Next::Restless => break,
                    Next::TooLarge => prop_assert!(false, "a short list is not too large"),
                }
            }
        }
    }
}
