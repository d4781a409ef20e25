//! The rules against a small world: a resource, a remote, a Secret, and a process that may die anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by a panic")]

mod arbitrary;
mod deletion;
mod equals;
mod following;
mod histories;
mod holding;
mod properties;
mod protocol;
mod quiet;
mod shell;
mod trouble;
mod world;
