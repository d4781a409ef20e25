//! What was asked, by whom, and how it was answered.

use tokio::time::Instant;

use crate::http::{Request, Verb};

/// One request. A watch is noted when it begins.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it arrived.
    pub at: Instant,
    /// What was asked for.
    pub request: Request,
    /// What the server answered, whether or not the answer arrived. Absent: it never came to an answer.
    pub status: Option<u16>,
    /// The revision that it wrote, where it wrote one.
    pub wrote: Option<u64>,
}

impl Entry {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.request.verb, Verb::Get | Verb::List | Verb::Watch)
    }
}
