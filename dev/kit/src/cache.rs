//! What is built once and kept between runs, outside the repository.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::progress::say;

/// `$XDG_CACHE_HOME/secret-version-operator`, else the same under `~/.cache`.
pub fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        // The specification of these variables says to ignore relative ones.
        Some(path) if Path::new(&path).is_absolute() => PathBuf::from(path),
        _ => std::env::home_dir().context("no home folder: set XDG_CACHE_HOME")?.join(".cache"),
    };
    Ok(base.join("secret-version-operator"))
}

/// A short key for a list of inputs; two lists share one only when equal.
pub fn key<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> String {
    use std::fmt::Write;
    let mut hash = Sha256::new();
    for input in inputs {
        // The length keeps "ab","c" apart from "a","bc".
        hash.update(input.len().to_le_bytes());
        hash.update(input);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The right to write in one folder of the cache, held until dropped or until
/// the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of `folder`, which is made where it is missing. Says so when
/// another process has it, and waits.
pub fn lock(folder: &Path) -> Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(format!("waiting for another process that builds in {}", folder.display()));
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(Lock { _file: file })
}

/// Gives `folder/name`, and has `build` make it where it is missing.
///
/// `build` gets the path to write to, which takes the name in one step when
/// `build` has succeeded: nobody ever sees half a file, and what an interrupted
/// build left is thrown away. `_lock` is the lock of `folder`.
pub fn file(_lock: &Lock, folder: &Path, name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    let partial = folder.join(".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir(&partial)?;
    let whole = partial.join(name);
    build(&whole)?;
    fs::rename(&whole, &path).with_context(|| format!("{name} was built but is not there to keep"))?;
    fs::remove_dir_all(&partial)?;
    Ok(path)
}
