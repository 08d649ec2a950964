//! `docs/guarantees.md` against the sources: each guarantee names the tests that show it, and there are such tests.

use std::collections::BTreeMap;
use std::path::Path;

use crate::attacks::{root, sources};

/// What stands between backquotes and looks like a test's name.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        name.bytes().all(is_word) && name.matches('_').count() >= 2
    })
}

#[test]
fn each_guarantee_names_tests_that_there_are() {
    let doc = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut files = BTreeMap::new();
    sources(Path::new("crates"), &mut files);
    let all: String = files.into_values().collect();
    let rows: Vec<&str> = doc
        .lines()
        .filter(|line| line.starts_with("| **"))
        .collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let (_, shown_by) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        assert!(names(shown_by).count() > 0, "no test shows this: {row}");
    }
    for name in names(&doc) {
        let is_there = all.contains(&format!("fn {name}("));
        assert!(is_there, "there is no test {name}");
    }
}
