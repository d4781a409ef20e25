//! The operator for `SecretVersion` resources, as a library: the binary, the tests and the benchmarks use it.
//!
//! The arrows point one way: `domain` knows `api` types alone and is pure; `remote` and `controller` use `domain`;
//! `run` wires everything.

pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod domain;
pub mod host;
pub mod lease;
pub mod ops;
pub mod remote;
pub mod run;
pub mod secret;
