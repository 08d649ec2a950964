//! Samples of a running server, by `perf record`: of the processor's clock, since counters are not on every machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use openline_bench::load::Watch;

use super::areas::by_area;
use super::symbols::Binary;
use super::{ByArea, Spot, Spots};
use crate::watchdog::{self, Watchdog, signal};

/// Samples a second: not a round number, lest they keep step with something.
const FREQUENCY: &str = "4999";
/// What perf needs to attach. What it misses of the beginning is no matter, since only shares are made of it.
const ATTACH: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(60);

/// Watches a process while the load that counts is on.
pub struct Perf {
    pid: u32,
    data: PathBuf,
    recorder: Option<Child>,
}

impl Perf {
    /// `folder` is where its samples go.
    pub fn new(pid: u32, folder: &Path) -> Self {
        Self {
            pid,
            data: folder.join("perf.data"),
            recorder: None,
        }
    }

    /// Which share of its time the server spent in which area.
    pub fn shares(&self, binary: &Binary, file: &Path) -> io::Result<ByArea> {
        let mut command = Command::new("perf");
        command
            .args(["script", "--no-inline", "-F", "ip,sym,dso", "-i"])
            .arg(&self.data);
        let output = watchdog::run(&mut command, LIMIT)?;
        let spots = read(
            &String::from_utf8_lossy(&output.stdout),
            &file.to_string_lossy(),
            binary,
        );
        let all: u64 = spots.values().sum();
        if all == 0 {
            return Err(io::Error::other("perf took no samples"));
        }
        let mut areas = by_area(&spots, binary);
        areas.values_mut().for_each(|share| *share /= all as f64);
        Ok(areas)
    }
}

impl Watch for Perf {
    fn begin(&mut self) -> io::Result<()> {
        let said = File::create(self.data.with_extension("said"))?;
        let mut command = Command::new("perf");
        command
            .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-g"])
            .args(["-p", &self.pid.to_string(), "-o"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        self.recorder = Some(command.spawn()?);
        std::thread::sleep(ATTACH);
        Ok(())
    }

    fn end(&mut self, _: u64) -> io::Result<()> {
        let Some(mut recorder) = self.recorder.take() else {
            return Ok(());
        };
        signal(recorder.id(), Signal::SIGINT)?;
        let dog = Watchdog::new(recorder.id(), LIMIT);
        recorder.wait()?;
        if dog.has_bitten() {
            return Err(io::Error::other("perf did not end"));
        }
        // It ends by the signal that it was sent; what it has to say of failures is that there is no data.
        if !self.data.exists() {
            let said = std::fs::read_to_string(self.data.with_extension("said"))?;
            return Err(io::Error::other(format!("perf: {said}")));
        }
        Ok(())
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        if let Some(mut recorder) = self.recorder.take() {
            let _ = recorder.kill();
            let _ = recorder.wait();
        }
    }
}

/// Each sample is a paragraph of frames, the innermost first: `ADDRESS FUNCTION (FILE)`.
fn read(text: &str, own: &str, binary: &Binary) -> Spots {
    let mut spots = Spots::new();
    for sample in text.split("\n\n") {
        let frames: Vec<Frame<'_>> = sample.lines().filter_map(Frame::read).collect();
        let Some(inner) = frames.first() else {
            continue;
        };
        let spot = if inner.is_kernel() {
            Spot::Kernel(frames.iter().find_map(Frame::system_call))
        } else if inner.file == own {
            match binary.address(inner.address) {
                Some(address) => Spot::Own(address),
                None => Spot::Library(inner.function.to_owned()),
            }
        } else {
            Spot::Library(inner.function.to_owned())
        };
        *spots.entry(spot).or_default() += 1;
    }
    spots
}

struct Frame<'a> {
    /// Of the file, unless it is the kernel's.
    address: u64,
    function: &'a str,
    file: &'a str,
}

impl<'a> Frame<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (address, rest) = line.trim().split_once(' ')?;
        let (function, file) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        Some(Self {
            address: u64::from_str_radix(address, 16).ok()?,
            function,
            file,
        })
    }

    fn is_kernel(&self) -> bool {
        self.file.starts_with('[')
    }

    /// The kernel's function for it (`__x64_sys_sendto`), or the C library's that asked for it.
    fn system_call(&self) -> Option<String> {
        if self.is_kernel() {
            let (_, call) = self.function.strip_prefix("__")?.split_once("_sys_")?;
            return Some(call.to_owned());
        }
        self.file.contains("libc").then(|| self.function.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_in_the_kernel_is_of_the_system_call_that_led_there() {
        let lines = "\tffffffff8201030f tcp_sendmsg_locked ([kernel.kallsyms])\n\
            \tffffffff81e31688 __sys_sendto ([kernel.kallsyms])\n\
            \tffffffff81e31750 __x64_sys_sendto ([kernel.kallsyms])\n\
            \t          10a929 __send (/usr/lib/libc.so.6)\n";
        let frames: Vec<Frame<'_>> = lines.lines().filter_map(Frame::read).collect();
        assert_eq!(frames.len(), 4);
        assert!(frames[0].is_kernel());
        let call = frames.iter().find_map(Frame::system_call);
        assert_eq!(call.as_deref(), Some("sendto"));
        assert_eq!(frames[3].system_call().as_deref(), Some("__send"));
    }

    #[test]
    fn a_function_may_have_spaces_and_brackets() {
        let frame = Frame::read("  11d5b5 <T as core::Future<(A, B)>>::poll (/a/echo)").unwrap();
        assert_eq!((frame.address, frame.file), (0x11d5b5, "/a/echo"));
        assert_eq!(frame.function, "<T as core::Future<(A, B)>>::poll");
    }
}
