//! Nothing hangs: what takes too long is killed, and who waits for it hears so.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills a process after a time, unless it is dropped before.
#[derive(Debug)]
pub struct Watchdog {
    /// Dropped to call it off.
    off: Option<Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Watchdog {
    /// `pid` is a child. Once it is waited for, its number may be another's: then this is to be called off at once.
    pub fn new(pid: u32, limit: Duration) -> Self {
        let (off, called_off) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let late = called_off.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            late && signal(pid, Signal::SIGKILL).is_ok()
        });
        Self {
            off: Some(off),
            thread: Some(thread),
        }
    }

    /// Calls it off; says whether it was too late for that.
    pub fn has_bitten(mut self) -> bool {
        self.call_off()
    }

    fn call_off(&mut self) -> bool {
        drop(self.off.take());
        let ended = self.thread.take().map(JoinHandle::join);
        matches!(ended, Some(Ok(true)))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.call_off();
    }
}

/// Sends a signal to a child.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(kill(Pid::from_raw(pid as i32), signal)?)
}

/// Runs a program to its end, and for so long at most; what it said, if it succeeded.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    let dog = Watchdog::new(child.id(), limit);
    let output = child.wait_with_output();
    if dog.has_bitten() {
        return Err(io::Error::other(format!(
            "{command:?} was not done in {limit:?}"
        )));
    }
    let output = output?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{command:?}: {said}")));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_killed_and_told() {
        let limit = Duration::from_millis(50);
        let error = run(Command::new("sleep").arg("600"), limit).unwrap_err();
        assert!(error.to_string().contains("was not done in"), "{error}");
    }

    #[test]
    fn what_fails_tells_what_it_said() {
        let limit = Duration::from_secs(600);
        let error = run(Command::new("ls").arg("/no/such/file"), limit).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn what_ends_in_time_is_left_alone() {
        let mut child = Command::new("true").spawn().unwrap();
        let dog = Watchdog::new(child.id(), Duration::from_secs(600));
        assert!(child.wait().unwrap().success());
        assert!(!dog.has_bitten());
    }
}
