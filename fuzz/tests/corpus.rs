//! Every target on its seeds and on its corpus, without a fuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use openline_fuzz::{TARGETS, Target};

fn directory(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// # Panics
/// If an input does; its name comes last, so that it is seen.
fn run(target: &Target, name: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        eprintln!(
            "the target `{}` fails on {name}: {}",
            target.name,
            input.escape_ascii()
        );
        std::panic::resume_unwind(panic);
    }
}

/// The seeds whole, and cut short and changed everywhere: what a fuzzer tries first.
fn run_seeds(target: &Target) {
    for (at, seed) in (target.seeds)().into_iter().enumerate() {
        run(target, &format!("seed {at}"), &seed);
        for end in 0..seed.len() {
            run(target, &format!("seed {at} up to {end}"), &seed[..end]);
            let mut changed = seed.clone();
            changed[end] = changed[end].rotate_left(end as u32 % 7 + 1) ^ (at as u8);
            run(target, &format!("seed {at} changed at {end}"), &changed);
        }
    }
}

fn run_corpus(target: &Target) {
    let directory = directory("corpus").join(target.name);
    let files =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        run(
            target,
            &path.display().to_string(),
            &fs::read(&path).unwrap(),
        );
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(mod $name {
            use super::*;

            fn target() -> &'static Target {
                TARGETS.iter().find(|target| target.name == stringify!($name)).expect("the target exists")
            }

            #[test]
            fn holds_on_its_seeds() {
                run_seeds(target());
            }

            #[test]
            fn holds_on_its_corpus() {
                run_corpus(target());
            }
        })*

        #[test]
        fn every_target_is_tested_and_has_a_program() {
            let tested = [$(stringify!($name)),*];
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, tested);
            let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
            for name in names {
                let program = format!("fuzz_targets/{name}.rs");
                assert!(manifest.contains(&format!("path = \"{program}\"")), "{program} is not built");
                let source = fs::read_to_string(directory(&program)).unwrap();
                assert!(source.contains(&format!("openline_fuzz::targets::{name}::run(data)")), "{program} runs something else");
            }
        }
    };
}

targets!(
    server_handshake,
    client_handshake,
    extensions,
    frames,
    deflate,
    operations,
    differential
);
