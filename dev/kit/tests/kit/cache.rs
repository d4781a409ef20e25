//! Two that build at once, and one that was interrupted.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kit::cache;

#[test]
fn two_resolutions_at_once_build_once() {
    let folder = tempfile::tempdir().unwrap();
    let builds = AtomicUsize::new(0);
    let together = Barrier::new(2);
    let resolve = || {
        together.wait();
        let lock = cache::lock(folder.path()).unwrap();
        cache::file(&lock, folder.path(), "binary", |path| {
            builds.fetch_add(1, Ordering::SeqCst);
            // Nobody can see what is being built.
            assert!(!folder.path().join("binary").exists());
            fs::write(path, "built")?;
            Ok(())
        })
        .unwrap()
    };
    let paths = thread::scope(|scope| {
        let both = [scope.spawn(resolve), scope.spawn(resolve)];
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(builds.into_inner(), 1);
    assert_eq!(paths[0], paths[1]);
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "built");
}

#[test]
fn a_failed_build_leaves_nothing_that_passes_for_whole() {
    let folder = tempfile::tempdir().unwrap();
    let build = |content: &'static str, fails: bool| {
        let lock = cache::lock(folder.path()).unwrap();
        cache::file(&lock, folder.path(), "binary", |path| {
            fs::write(path, content)?;
            anyhow::ensure!(!fails, "interrupted");
            Ok(())
        })
    };
    let error = build("half", true).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
    assert!(!folder.path().join("binary").exists());
    let path = build("whole", false).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "whole");
}

#[test]
fn a_key_tells_lists_apart_that_join_to_the_same_text() {
    let key = |inputs: &[&'static str]| cache::key(inputs.iter().map(|text| text.as_bytes()));
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
}
