//! How the story looks: headings, commands, what they print. With colours only where a person looks.

use std::io::{IsTerminal, Write};

/// Standard output.
pub(super) struct Terminal {
    colours: bool,
}

const HEADING: &str = "1;36";
const COMMAND: &str = "1;32";
const PROBLEM: &str = "1;31";

impl Terminal {
    pub(super) fn new() -> Self {
        // https://no-color.org
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: std::io::stdout().is_terminal() && !unwanted }
    }

    /// The beginning of a chapter.
    pub(super) fn heading(&self, title: &str) {
        print("");
        print(
            &self.painted(
                HEADING,
                &format!("── {title} {}", "─".repeat(76_usize.saturating_sub(title.chars().count()))),
            ),
        );
    }

    /// A remark of the teller.
    #[allow(clippy::unused_self, reason = "one way of speaking for all that is said")]
    pub(super) fn say(&self, text: &str) {
        print(text);
    }

    /// A command, before it runs.
    pub(super) fn command(&self, script: &str) {
        print("");
        for (number, line) in script.lines().enumerate() {
            let prompt = if number == 0 { "$ " } else { "" };
            print(&self.painted(COMMAND, &format!("{prompt}{line}")));
        }
    }

    /// What a command printed.
    #[allow(clippy::unused_self, reason = "as above")]
    pub(super) fn output(&self, text: &str) {
        let text = text.trim_end();
        if !text.is_empty() {
            print(text);
        }
    }

    /// Something that should not be so.
    pub(super) fn problem(&self, text: &str) {
        print(&self.painted(PROBLEM, text));
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn print(text: &str) {
    // Whoever closed standard output wants to read no more; the story's end is its exit status.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
