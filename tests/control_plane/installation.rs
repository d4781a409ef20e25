//! The kit's installation of the chart, by the names that some tests here use.

pub(crate) use kit::install::{Installed as Installation, chart as install};
