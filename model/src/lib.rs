//! A model of the protocol that creates versions exactly once, explored to the end in small worlds.
//!
//! The rules are the operator's own: [`secret_version_operator::domain::decide`]. Around them stands a model of what the operator
//! runs in: an apiserver, a remote, processes with their caches and memories, people, and time. What a process does between
//! two questions to the rules is written after `secret_version_operator::controller`, and must be kept like it.

pub mod breaks;
pub mod config;
pub mod configs;
mod effects;
pub mod environment;
mod explore;
pub mod model;
mod normal;
mod rest;
mod rules;
mod shell;
mod translate;
pub mod world;

pub use explore::{Outcome, explore, explore_some};
