//! One suite of cases for the fake apiserver and the real one. Each case runs against both and notes every answer; where
//! the notes differ, the fake is wrong.
#![allow(clippy::expect_used, reason = "a test that cannot go on says so by a panic")]

mod apply;
mod controllers;
mod deletion;
mod harness;
mod metadata;
mod namespaces;
mod reads;
mod rules;
mod status;
mod watches;
mod writes;
