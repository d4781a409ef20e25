//! The simulator over real HTTP: every call, every error, every fault, and the real client.

#![allow(clippy::unwrap_used)] // in helpers too: a test that cannot go on has failed

mod calls;
mod control;
mod docs;
mod faults;
mod process;
mod real_client;
mod support;
