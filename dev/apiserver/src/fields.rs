//! Who owns which field: what every write notes in `managedFields`, and what a server-side apply asks before it writes.

mod compare;
mod managed;
mod merge;
mod set;

pub(crate) use managed::{Ownership, apply, note_update};
