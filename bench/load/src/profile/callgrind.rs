//! Instructions of a running server, outside of the kernel, by valgrind's `callgrind`: the same at each run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use openline_bench::load::Watch;

use super::areas::by_area;
use super::symbols::Binary;
use super::{ByArea, Spot, Spots};
use crate::watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// Has a server that runs under callgrind count while the load that counts is on.
pub struct Callgrind {
    pid: u32,
    counts: PathBuf,
    messages: u64,
}

impl Callgrind {
    /// `counts` is the file that [`Callgrind::under`] was given.
    pub const fn new(pid: u32, counts: PathBuf) -> Self {
        Self {
            pid,
            counts,
            messages: 0,
        }
    }

    /// The program, and its arguments, to start a server under.
    pub fn under(counts: &Path) -> Vec<String> {
        let counts = format!("--callgrind-out-file={}", counts.display());
        [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--dump-instr=yes",
            "--dump-line=no",
            "--compress-strings=no",
            "--compress-pos=no",
            &counts,
        ]
        .map(str::to_owned)
        .into()
    }

    /// How many instructions of a message were in which area.
    pub fn instructions(&self, binary: &Binary, file: &Path) -> io::Result<ByArea> {
        // The first part that is dumped has this name.
        let mut part = self.counts.clone().into_os_string();
        part.push(".1");
        let text = fs::read_to_string(part)?;
        let spots = read(&text, &file.to_string_lossy());
        if spots.is_empty() || self.messages == 0 {
            return Err(io::Error::other("callgrind counted nothing"));
        }
        let mut areas = by_area(&spots, binary);
        let messages = self.messages as f64;
        areas.values_mut().for_each(|count| *count /= messages);
        Ok(areas)
    }

    fn control(&self, arguments: &[&str]) -> io::Result<()> {
        let mut command = Command::new("callgrind_control");
        command.args(arguments).arg(self.pid.to_string());
        watchdog::run(&mut command, LIMIT).map(drop)
    }
}

impl Watch for Callgrind {
    fn begin(&mut self) -> io::Result<()> {
        self.control(&["-i", "on"])
    }

    fn end(&mut self, count: u64) -> io::Result<()> {
        self.messages = count;
        self.control(&["-d"])
    }
}

/// Lines are `ADDRESS COUNT`, below the object (`ob=`) and function (`fn=`) that they are of; the one after `calls=` is what a
/// called function cost, which is counted there.
fn read(text: &str, own: &str) -> Spots {
    let mut spots = Spots::new();
    let (mut object, mut function) = ("", "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            lines.next();
        } else if let Some((address, count)) = line.split_once(' ')
            && let Some(address) = address.strip_prefix("0x")
            && let (Ok(address), Ok(count)) =
                (u64::from_str_radix(address, 16), count.parse::<u64>())
        {
            let spot = if object == own {
                Spot::Own(address)
            } else {
                Spot::Library(function.to_owned())
            };
            *spots.entry(spot).or_default() += count;
        }
    }
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_cost_is_counted_where_it_was_spent() {
        let text = "positions: instr\nevents: Ir\n\nob=/bin/echo\nfl=a.rs\nfn=poll\n0x10 3\n\
            fi=b.rs\n0x14 4\ncob=/lib/libc.so.6\ncfn=memcpy\ncalls=3 0x80\n0x14 900\n0x18 5\n\n\
            ob=/lib/libc.so.6\nfn=memcpy\n0x80 900\n";
        let spots = read(text, "/bin/echo");
        let expected = [
            (Spot::Own(0x10), 3),
            (Spot::Own(0x14), 4),
            (Spot::Own(0x18), 5),
            (Spot::Library("memcpy".into()), 900),
        ];
        assert_eq!(spots, expected.into());
    }
}
