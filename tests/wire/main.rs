//! The client of the remote on the wire: against the simulator, against servers that break HTTP, against certificates
//! that must not be trusted, and beside the platform's own Python client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod broken;
mod calls;
mod leaks;
mod lists;
mod once;
mod real_client;
mod retries;
mod script;
mod support;
mod trust;
