//! Tests on real control planes: one that serves tests in namespaces of their own, each with what it installs there, and one
//! with the operator installed for the whole cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod access;
mod admission;
mod connection;
mod deletion;
mod events;
mod examples;
mod lease;
mod managed;
mod observed;
mod operations;
mod rights;
mod robustness;
mod scene;
mod shards;
mod source;
mod target;
mod world;
