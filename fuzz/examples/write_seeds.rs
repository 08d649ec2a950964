//! Writes the seeds of a target into a directory, where the fuzzer looks for them: `write_seeds TARGET DIRECTORY`.

use std::path::PathBuf;
use std::{env, fs, io};

use openline_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [name, directory] = &arguments[..] else {
        return Err(io::Error::other("usage: write_seeds TARGET DIRECTORY"));
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| io::Error::other(format!("there is no target `{name}`")))?;
    for (at, seed) in (target.seeds)().iter().enumerate() {
        fs::write(PathBuf::from(directory).join(format!("seed-{at}")), seed)?;
    }
    Ok(())
}
