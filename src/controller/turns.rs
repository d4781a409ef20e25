//! Whose turn it is: which of the objects that wait is worked on next. Keeps no time and does no work.
//!
//! Lanes go in order, but every fourth turn is first offered to one of the later lanes, each at its time, so that nobody waits
//! for ever. Within a lane
//! namespaces take turns, and within a namespace who came first goes first. A namespace whose passes hang gets no more
//! places than leave some to others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::lane::Lane;

use super::index::Key;

/// One turn in so many is offered to a later lane first.
const LATER_FIRST: usize = 4;

/// A namespace may hold fewer places than this many times those that are free.
const SHARE: usize = 3;

/// Who waits, and who is worked on. An object is worked on by one pass at a time.
#[derive(Debug)]
pub(super) struct Turns {
    free: usize,
    given: usize,
    lanes: BTreeMap<Lane, Waiting>,
    /// The lane that each of those who wait stands in.
    waiting: HashMap<Key, Lane>,
    /// Those who are worked on, and the lane that they are to wait in afterwards.
    running: HashMap<Key, Option<Lane>>,
    /// Places that each namespace holds.
    held: HashMap<Arc<str>, usize>,
}

/// One lane.
#[derive(Debug, Default)]
struct Waiting {
    /// Namespaces in which somebody waits, in the order of their turns.
    ring: VecDeque<Arc<str>>,
    /// Names, in the order in which they came. Some may have moved to another lane since.
    names: HashMap<Arc<str>, VecDeque<Arc<str>>>,
}

impl Turns {
    /// Nobody waits for any of so many places.
    pub(super) fn new(places: usize) -> Self {
        let lanes = Lane::ALL.map(|lane| (lane, Waiting::default())).into();
        let (waiting, running, held) = Default::default();
        Self { free: places, given: 0, lanes, waiting, running, held }
    }

    /// Lets an object wait for its turn, at once or after the pass over it that is under way. Asked for twice, it waits once,
    /// in the earlier lane.
    pub(super) fn add(&mut self, key: Key, lane: Lane) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(lane, |then| then.min(lane)));
            return;
        }
        if self.waiting.get(&key).is_some_and(|now| *now <= lane) {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.add(&key);
        }
        self.waiting.insert(key, lane);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whose turn it is, where a place is free for one who waits. Its pass holds the place until `finish`.
    pub(super) fn next(&mut self) -> Option<Key> {
        if self.free == 0 || self.waiting.is_empty() {
            return None;
        }
        // From the last lane back to the second, and again.
        let later = Lane::ALL.into_iter().skip(1).rev().cycle().nth(self.given / LATER_FIRST % (Lane::ALL.len() - 1));
        let order = later.filter(|_| (self.given + 1).is_multiple_of(LATER_FIRST)).into_iter().chain(Lane::ALL);
        let Self { free, held, waiting, lanes, .. } = self;
        let may = |namespace: &str| held.get(namespace).copied().unwrap_or_default() < SHARE * *free;
        let found = order
            .into_iter()
            .find_map(|lane| lanes.get_mut(&lane)?.take(may, |key| waiting.get(key) == Some(&lane)))?;
        self.waiting.remove(&found);
        self.given += 1;
        self.free -= 1;
        *self.held.entry(found.namespace.clone()).or_default() += 1;
        self.running.insert(found.clone(), None);
        Some(found)
    }

    /// The pass over an object ended. Answers whether it waits again already.
    pub(super) fn finish(&mut self, key: &Key) -> bool {
        let Some(again) = self.running.remove(key) else { return false };
        self.free += 1;
        if let Some(held) = self.held.get_mut(&key.namespace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&key.namespace);
            }
        }
        if let Some(lane) = again {
            self.add(key.clone(), lane);
        }
        again.is_some()
    }
}

impl Waiting {
    fn add(&mut self, key: &Key) {
        let names = self.names.entry(key.namespace.clone()).or_default();
        if names.is_empty() {
            self.ring.push_back(key.namespace.clone());
        }
        names.push_back(key.name.clone());
    }

    /// Takes the first of the first namespace that may, and sends the namespace to the end.
    fn take(&mut self, may: impl Fn(&str) -> bool, stands_here: impl Fn(&Key) -> bool) -> Option<Key> {
        for _ in 0..self.ring.len() {
            let namespace = self.ring.pop_front()?;
            let mut found = None;
            if may(&namespace) {
                let names = self.names.get_mut(&namespace)?;
                while found.is_none()
                    && let Some(name) = names.pop_front()
                {
                    found = Some(Key { namespace: namespace.clone(), name }).filter(|key| stands_here(key));
                }
                if names.is_empty() {
                    self.names.remove(&namespace);
                }
            }
            if self.names.contains_key(&namespace) {
                self.ring.push_back(namespace);
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        let (namespace, name) = text.split_once('/').unwrap();
        Key::new(namespace, name)
    }

    proptest! {
        #[test]
        fn whoever_is_added_has_a_turn_and_no_one_has_two_at_once(
            steps in prop::collection::vec((0..3_u8, 0..3_u8, 0..6_u8, 0..4_usize), 0..200),
            places in 1..6_usize,
        ) {
            let mut turns = Turns::new(places);
            let mut running: Vec<Key> = Vec::new();
            let mut owed: BTreeSet<Key> = BTreeSet::new();
            for (step, namespace, name, lane) in steps {
                match step {
                    0 => {
                        let key = Key::new(&namespace.to_string(), &name.to_string());
                        turns.add(key.clone(), Lane::ALL[lane]);
                        owed.insert(key);
                    }
                    1 => if let Some(key) = turns.next() {
                        prop_assert!(!running.contains(&key));
                        prop_assert!(owed.remove(&key), "a turn that nobody asked for");
                        running.push(key);
                        prop_assert!(running.len() <= places);
                    },
                    _ => if !running.is_empty() {
                        let key = running.remove(usize::from(name) % running.len());
                        prop_assert_eq!(turns.finish(&key), owed.contains(&key));
                    },
                }
            }
            for key in running {
                turns.finish(&key);
            }
            let rest: BTreeSet<Key> = std::iter::from_fn(|| {
                let key = turns.next()?;
                turns.finish(&key);
                Some(key)
            }).collect();
            prop_assert_eq!(rest, owed);
        }
    }

    /// Everybody's turn, one after the other.
    fn order(turns: &mut Turns) -> Vec<String> {
        std::iter::from_fn(|| {
            let key = turns.next()?;
            turns.finish(&key);
            Some(key.to_string())
        })
        .collect()
    }

    #[test]
    fn who_waits_longest_goes_first_and_nobody_waits_twice() {
        let mut turns = Turns::new(1);
        for name in ["n/a", "n/b", "n/a", "n/c"] {
            turns.add(key(name), Lane::Refresh);
        }
        assert_eq!(order(&mut turns), ["n/a", "n/b", "n/c"]);
        assert!(turns.waiting.is_empty() && turns.running.is_empty() && turns.held.is_empty());
        assert!(turns.lanes.values().all(|lane| lane.ring.is_empty() && lane.names.is_empty()));
    }

    #[test]
    fn lanes_go_in_order_and_every_fourth_turn_is_a_later_lanes() {
        let mut turns = Turns::new(1);
        for lane in [Lane::Refresh, Lane::Urgent] {
            for n in 0..6 {
                turns.add(key(&format!("n/{lane:?}{n}")), lane);
            }
        }
        let order = order(&mut turns);
        let letters: String = order.iter().map(|name| &name[2..3]).collect();
        assert_eq!(letters, "UUURUUURRRRR");
    }

    #[test]
    fn no_lane_waits_for_ever_while_others_never_empty() {
        let mut turns = Turns::new(1);
        for (n, lane) in Lane::ALL.into_iter().cycle().take(80).enumerate() {
            turns.add(key(&format!("n/{lane:?}-{n}")), lane);
        }
        let order = order(&mut turns);
        for lane in Lane::ALL {
            let first = order.iter().position(|name| name.starts_with(&format!("n/{lane:?}")));
            assert!(first.is_some_and(|turn| turn < 12), "{lane:?}: {first:?}");
        }
    }

    #[test]
    fn namespaces_take_turns() {
        let mut turns = Turns::new(1);
        for name in ["a/1", "a/2", "a/3", "b/1", "c/1", "b/2"] {
            turns.add(key(name), Lane::First);
        }
        assert_eq!(order(&mut turns), ["a/1", "b/1", "c/1", "a/2", "b/2", "a/3"]);
    }

    #[test]
    fn who_is_worked_on_waits_until_that_ends() {
        let mut turns = Turns::new(4);
        turns.add(key("n/a"), Lane::Refresh);
        let first = turns.next().unwrap();
        turns.add(first.clone(), Lane::Refresh);
        turns.add(first.clone(), Lane::Urgent);
        assert_eq!(turns.next(), None, "two passes over one object at a time");
        assert!(turns.finish(&first), "what came meanwhile is lost");
        turns.add(key("n/b"), Lane::Changed);
        assert_eq!(order(&mut turns), ["n/a", "n/b"], "the earliest lane that was asked for");
    }

    #[test]
    fn who_turns_out_urgent_moves_up_and_does_not_come_twice() {
        let mut turns = Turns::new(1);
        for name in ["n/a", "n/b", "m/c"] {
            turns.add(key(name), Lane::Refresh);
        }
        turns.add(key("n/b"), Lane::Urgent);
        turns.add(key("n/b"), Lane::Refresh);
        assert_eq!(order(&mut turns), ["n/b", "n/a", "m/c"]);
    }

    #[test]
    fn a_namespace_whose_passes_hang_leaves_places_to_others() {
        let mut turns = Turns::new(16);
        for n in 0..100 {
            turns.add(key(&format!("hangs/{n}")), Lane::Urgent);
        }
        let hanging = std::iter::from_fn(|| turns.next()).count();
        assert_eq!(hanging, 12);
        for n in 0..100 {
            turns.add(key(&format!("other/{n}")), Lane::Refresh);
        }
        let others = std::iter::from_fn(|| turns.next()).count();
        assert!(others >= 3, "{others}");
        let mut one = Turns::new(1);
        one.add(key("n/a"), Lane::Refresh);
        assert_eq!(one.next(), Some(key("n/a")), "with one place there is nothing to leave");
    }
}
