//! Lines for the person who waits.

use std::io::Write;

/// Writes one line to standard error. Not through the print macros: a test
/// harness captures those, and would stay silent for minutes.
pub fn say(line: impl AsRef<str>) {
    // Nobody is harmed when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}
