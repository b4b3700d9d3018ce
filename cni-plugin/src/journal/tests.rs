#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use cni_plugin_spec::{Code, Command};

use super::*;

fn at(seconds: u64) -> String {
    timestamp(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[test]
fn dates_are_those_of_the_calendar() {
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00.000Z");
    assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
    assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    assert_eq!(
        timestamp(UNIX_EPOCH + Duration::from_millis(1_005)),
        "1970-01-01T00:00:01.005Z"
    );
}

#[test]
fn a_line_is_one_line_and_says_what_failed() {
    let call = Call::new(Command::Status, Instant::now());
    let error = CniError::new(Code::NotAvailable, "two\nlines").with_details("d");
    let text = line(&call, Err(&error), None, UNIX_EPOCH);
    assert_eq!(text.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["verb"], "STATUS");
    assert_eq!((&value["code"], &value["ok"]), (&json!(50), &json!(false)));
    assert_eq!(value["outcome"], "two\nlines");
}

#[test]
fn a_full_file_is_put_aside_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    fs::write(&path, vec![b'x'; usize::try_from(FULL).unwrap()]).unwrap();
    append(&path, "a\n").unwrap();
    append(&path, "b\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    assert_eq!(
        fs::metadata(directory.path().join("log.1")).unwrap().len(),
        FULL
    );
}

/// A call that opened the file before another one put it aside does not put the new one aside.
#[test]
fn the_new_file_is_not_put_aside_with_the_old() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let old = open(&path).unwrap();
    fs::rename(&path, directory.path().join("log.1")).unwrap();
    append(&path, "new\n").unwrap();
    assert!(put_aside(&old, &path).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
}

#[test]
fn links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
    assert!(append(&path, "a\n").is_err());
    assert!(!directory.path().join("elsewhere").exists());
}
