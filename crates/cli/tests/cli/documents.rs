//! The documents against the tree: what they link to is there, and the two READMEs show the same.

use std::path::{Path, PathBuf};

use crate::attacks::root;

/// All documents but those of other people's packages.
fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                documents(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Where the links of a document lead, if that is a file.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap());
    files.filter(|file| !file.is_empty() && !file.contains("://"))
}

#[test]
fn what_documents_link_to_is_there() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    let mut followed = 0;
    for document in &found {
        let text = std::fs::read_to_string(document).unwrap();
        for link in links(&text) {
            let target = document.parent().unwrap().join(link);
            assert!(target.exists(), "{}: no {link}", document.display());
            followed += 1;
        }
    }
    assert!(
        followed > 50,
        "{followed} links in {} documents",
        found.len()
    );
}

/// What stands between fences.
fn shown(readme: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(readme)).unwrap();
    let shown: Vec<String> = text
        .split("```")
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(shown.len() > 10, "{readme}: {}", shown.len());
    shown
}

#[test]
fn both_readmes_show_the_same_commands_and_programs() {
    assert_eq!(shown("README.md"), shown("README.zh-CN.md"));
}
