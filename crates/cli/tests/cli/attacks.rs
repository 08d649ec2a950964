//! `docs/attacks.md` against the sources: it names the tests that there are, and no other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn doc() -> String {
    std::fs::read_to_string(root().join("docs/attacks.md")).unwrap()
}

/// All Rust sources below a directory, by their paths from the root.
pub(crate) fn sources(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(root().join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = directory.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            found.insert(path.to_str().unwrap().replace('\\', "/"), text);
        }
    }
}

/// The tests by file, as the page lists them.
fn listed() -> String {
    let mut files = BTreeMap::new();
    sources(Path::new("crates"), &mut files);
    let mut list = String::new();
    for (path, text) in files {
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim_start().split_once("fn "))
            .filter(|(before, _)| matches!(*before, "" | "async "))
            .filter_map(|(_, after)| after.split_once('('))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("attack_") || name.starts_with("defect_"))
            .collect();
        names.sort_unstable();
        if !names.is_empty() {
            writeln!(list, "{path}").unwrap();
            for name in names {
                writeln!(list, "  {name}").unwrap();
            }
        }
    }
    list
}

#[test]
fn the_page_of_attacks_lists_the_tests_that_there_are() {
    let doc = doc();
    let (_, rest) = doc.split_once("```text\n").expect("a list of tests");
    let (list, _) = rest.split_once("```").expect("its end");
    let tests = listed();
    assert!(
        list == tests,
        "the list in docs/attacks.md is to be:\n\n{tests}"
    );
}

/// Each row, by its number, has a test that bears it; or says in so many words why it has none.
#[test]
fn each_attack_and_defect_has_a_test_or_a_reason() {
    let (doc, tests) = (doc(), listed());
    for (title, kind, count) in [("## Attacks", "attack", 30), ("## Defects", "defect", 10)] {
        let (_, table) = doc.split_once(title).expect("its heading");
        let (table, _) = table.split_once("\n## ").expect("what follows it");
        for number in 1..=count {
            let start = format!("| {number} |");
            let row = table.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("{kind} {number} has no row"));
            let name = match kind {
                "attack" => format!("  attack_{number:02}_"),
                _ => format!("  defect_{number}_"),
            };
            assert!(
                tests.contains(&name) != row.contains("**No test**"),
                "{kind} {number} needs a test, or the words **No test** and why, but not both: {row}"
            );
        }
    }
}

/// What reads memory that nobody has written, or frees it twice, can't be written here.
#[test]
fn attack_06_no_crate_allows_unsafe_code() {
    let manifest = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    assert!(manifest("Cargo.toml").contains("\nunsafe_code = \"forbid\"\n"));
    for crate_ in ["proto", "openline", "server", "cli"] {
        let own = manifest(&format!("crates/{crate_}/Cargo.toml"));
        assert!(own.contains("[lints]\nworkspace = true"), "{crate_}");
    }
}
