//! The kit against real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

mod cache;
mod controlplane;
mod demo;
mod operator;
mod process;
mod proxy;
mod run_dir;
mod simulator;
mod wait;
