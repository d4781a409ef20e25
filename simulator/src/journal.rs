//! The journal: what clients asked for, and what became of it.
//! Keeps no token, and of a body only length and digest, unless the simulator was started to keep both.

use std::collections::{BTreeMap, VecDeque};

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::call::Operation;
use crate::wire;

/// Entries kept; the oldest go first. A long benchmark must not eat the machine's memory.
const CAPACITY: usize = 200_000;

/// A request and its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counts from 1 for the life of the process, resets and clearings included.
    pub seq: u64,
    /// When the whole request had been read.
    pub at: Timestamp,
    /// Counts TCP connections, so that re-use can be seen.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The query as it was sent, without `?`.
    pub query: String,
    /// The call, where it is one.
    pub operation: Option<Operation>,
    /// The organization in the path.
    pub organization_id: Option<String>,
    /// The secret in the path.
    pub secret_id: Option<String>,
    /// The version in the path, or the one created.
    pub version_id: Option<String>,
    /// Whether an `Authorization` header was there.
    pub credential_presented: bool,
    /// The name of the credential, where it is valid.
    pub credential: Option<String>,
    /// `accept`, `content-type` and `user-agent`.
    pub headers: BTreeMap<String, String>,
    /// Length of the body in bytes.
    pub body_length: usize,
    /// Its SHA-256 in hexadecimal; absent for an empty body.
    pub body_sha256: Option<String>,
    /// Ids of the faults that were applied.
    pub faults: Vec<u64>,
    /// False while the request is being worked on.
    pub finished: bool,
    /// The status that the client was sent; absent where the connection was closed instead.
    pub status: Option<u16>,
    /// Whether the state was changed for it, be it later.
    pub committed: bool,
    /// Everything sent, where the simulator was started to keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
}

/// What the journal leaves out by default.
#[derive(Clone, Debug, Serialize)]
pub struct Raw {
    /// All headers, in the order sent, the credential included.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body_base64: String,
}

impl Raw {
    /// Copies a request.
    pub fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        Self {
            headers: headers.iter().map(|(name, value)| (name.to_string(), lossy(value))).collect(),
            body_base64: wire::encode(body),
        }
    }
}

/// The headers that tell clients apart, and that a journal may show.
pub fn telling_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT]
        .into_iter()
        .filter_map(|name| Some((name.to_string(), lossy(headers.get(&name)?))))
        .collect()
}

/// SHA-256 in hexadecimal; none of nothing.
pub fn digest(body: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    (!body.is_empty()).then(|| {
        Sha256::digest(body).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    })
}

fn lossy(value: &axum::http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The entries, oldest first.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    last_seq: u64,
}

impl Journal {
    /// Adds an entry, and gives it its number.
    pub fn push(&mut self, mut entry: Entry) -> u64 {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.last_seq
    }

    /// The entry of that number, where it is still there.
    pub fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Entries with a number above `seq`.
    pub fn since(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.seq > seq)
    }

    /// The number of the newest entry ever; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Forgets all entries, and goes on counting.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            seq: 0,
            at: Timestamp::UNIX_EPOCH,
            connection: 1,
            method: "GET".into(),
            path: "/".into(),
            query: String::new(),
            operation: None,
            organization_id: None,
            secret_id: None,
            version_id: None,
            credential_presented: false,
            credential: None,
            headers: BTreeMap::new(),
            body_length: 0,
            body_sha256: None,
            faults: Vec::new(),
            finished: false,
            status: None,
            committed: false,
            raw: None,
        }
    }

    #[test]
    fn numbers_go_on_after_clearing() {
        let mut journal = Journal::default();
        assert_eq!((journal.push(entry()), journal.push(entry())), (1, 2));
        assert_eq!(journal.since(1).map(|entry| entry.seq).collect::<Vec<_>>(), [2]);
        journal.clear();
        assert!(journal.get_mut(2).is_none());
        assert_eq!(journal.push(entry()), 3);
        assert_eq!(journal.get_mut(3).unwrap().seq, 3);
        assert_eq!(journal.last_seq(), 3);
    }

    #[test]
    fn the_oldest_entries_go_first() {
        let mut journal = Journal::default();
        for _ in 0..=CAPACITY {
            journal.push(entry());
        }
        assert_eq!(journal.since(0).next().unwrap().seq, 2);
        assert!(journal.get_mut(1).is_none());
        assert_eq!(journal.get_mut(2).unwrap().seq, 2);
    }

    #[test]
    fn the_credential_is_no_telling_header() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer t".parse().unwrap());
        headers.insert(header::ACCEPT, "*/*".parse().unwrap());
        let shown = telling_headers(&headers);
        assert_eq!(shown.into_iter().collect::<Vec<_>>(), [("accept".into(), "*/*".into())]);
    }
}
