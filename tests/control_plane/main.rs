//! Tests on a real control plane. One control plane serves them all, each in a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod admission;
mod events;
mod examples;
mod installation;
mod lease;
mod operations;
mod rights;
