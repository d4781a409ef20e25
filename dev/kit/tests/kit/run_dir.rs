//! The folder of a run goes, unless the run failed.

use std::thread;

use kit::run_dir::RunDir;

#[test]
fn a_run_that_went_well_leaves_nothing() {
    let run = RunDir::create().unwrap();
    let path = run.path().to_owned();
    run.new_log("server").unwrap();
    drop(run);
    assert!(!path.exists());
}

#[test]
fn a_run_that_failed_leaves_its_logs_but_not_its_data() {
    let run = RunDir::create().unwrap();
    let path = run.path().to_owned();
    let log = run.new_log("server").unwrap();
    let data = run.data();
    let failed = thread::spawn(move || {
        let _run = run;
        panic!("as a failing test does");
    });
    failed.join().unwrap_err();
    assert!(log.exists());
    assert!(!data.exists());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn logs_of_one_name_do_not_mix() {
    let run = RunDir::create().unwrap();
    let (first, second) = (run.new_log("a").unwrap(), run.new_log("a").unwrap());
    assert_ne!(first, second);
}
