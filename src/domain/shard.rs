//! Which process of several a remote secret belongs to: by a hash of its place, so that everything about one remote secret stays
//! in one process.
//!
//! What has no place, such as a resource that names a connection which is not there, or a connection itself, belongs by its own
//! name: somebody must speak for it, and only one.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::place::Place;

/// The most processes that the work can be divided among. Each of them lists and caches all resources, and renews the Lease that
/// they share.
pub const MOST: u16 = 16;

/// One of so many equal parts of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u16,
    of: u16,
}

/// Why a text names no shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no shard: write I/N, such as 0/2, with N from 1 to {MOST} and I from 0 to N-1")]
pub struct NoShard;

impl Shard {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Which one, from 0.
    pub fn index(self) -> u16 {
        self.index
    }

    /// How many there are.
    pub fn of(self) -> u16 {
        self.of
    }

    /// Whether this is all of the work.
    pub fn is_whole(self) -> bool {
        self.of == 1
    }

    /// Whether a remote secret belongs here.
    pub fn owns(self, place: &Place) -> bool {
        self.has("place", &place.to_string())
    }

    /// Whether an object that has no place belongs here.
    pub fn speaks_for(self, kind: &str, name: &str) -> bool {
        self.has(kind, name)
    }

    /// This shard's share of a budget, never nothing.
    pub fn share(self, budget: u32) -> u32 {
        (budget / u32::from(self.of)).max(1)
    }

    /// The hash is part of what processes of different versions agree on: another one is another division.
    fn has(self, kind: &str, name: &str) -> bool {
        if self.is_whole() {
            return true;
        }
        let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
        let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number % u64::from(self.of) == u64::from(self.index)
    }
}

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| plain).ok_or(NoShard)
        };
        let (index, of) = text.split_once('/').ok_or(NoShard)?;
        let shard = Self { index: number(index)?, of: number(of)? };
        (shard.index < shard.of && shard.of <= MOST).then_some(shard).ok_or(NoShard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(url: &str, organization_id: &str, secret_id: &str) -> Place {
        Place { url: url.into(), organization_id: organization_id.into(), secret_id: secret_id.into() }
    }

    fn all(of: u16) -> impl Iterator<Item = Shard> {
        (0..of).map(move |index| Shard { index, of })
    }

    #[test]
    fn what_names_a_shard_and_what_does_not() {
        for text in ["0/1", "0/2", "1/2", "15/16"] {
            assert_eq!(text.parse::<Shard>().map(|shard| shard.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "0", "/", "1/1", "2/2", "0/0", "0/17", "-1/2", "+0/2", "0/+2", " 0/2", "0/2/3", "a/b", "0/99999999"]
        {
            assert_eq!(text.parse::<Shard>(), Err(NoShard), "{text}");
        }
        assert_eq!("0/1".parse(), Ok(Shard::WHOLE));
    }

    const VECTORS: [(u16, u16); 4] = [(2, 0), (3, 2), (7, 5), (16, 4)];

    /// From Python: `int.from_bytes(hashlib.sha256(b"place\0https://api.abeja.io/14100/30535").digest()[:8], "big") % N`.
    #[test]
    fn the_hash_is_the_same_for_ever() {
        let place = place("https://api.abeja.io", "14100", "30535");
        for (of, index) in VECTORS {
            let owner: Vec<u16> = all(of).filter(|shard| shard.owns(&place)).map(Shard::index).collect();
            assert_eq!(owner, [index], "of {of}");
        }
    }

    #[test]
    fn places_spread_over_the_shards() {
        for of in 2..=MOST {
            let mut counts = vec![0_usize; of.into()];
            for secret in 0..1600 {
                let place =
                    place("https://api.abeja.io", "1410000000000", &(3_053_595_000_000_u64 + secret).to_string());
                all(of).filter(|shard| shard.owns(&place)).for_each(|shard| counts[usize::from(shard.index)] += 1);
            }
            let fair = 1600 / usize::from(of);
            assert!(counts.iter().all(|count| (fair / 2..=fair * 3 / 2).contains(count)), "of {of}: {counts:?}");
        }
    }

    #[test]
    fn a_budget_is_divided_and_never_gone() {
        let shard: Shard = "1/3".parse().unwrap();
        for (budget, share) in [(600, 200), (100, 33), (3, 1), (1, 1)] {
            assert_eq!(shard.share(budget), share);
            assert_eq!(Shard::WHOLE.share(budget), budget);
        }
    }

    proptest! {
        #[test]
        fn each_thing_belongs_to_exactly_one_shard(url in ".*", organization in ".*", secret in ".*", of in 1..=MOST) {
            let place = place(&url, &organization, &secret);
            prop_assert_eq!(all(of).filter(|shard| shard.owns(&place)).count(), 1);
            prop_assert_eq!(all(of).filter(|shard| shard.speaks_for(&url, &secret)).count(), 1);
        }
    }
}
