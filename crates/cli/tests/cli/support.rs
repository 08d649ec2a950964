//! Runs the real binary.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// All the ways to listen.
pub(crate) const WAYS: [&str; 5] = ["ws", "sse", "stream", "long-poll", "poll"];

/// Only to end a test that hangs: nothing passes or fails by time.
const HANGS: Duration = Duration::from_secs(60);

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openline"));
    command
        .args(args)
        .env_remove("OPENLINE_LOG")
        .env_remove("OPENLINE_TOKEN")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Runs a command to its end with this standard input.
pub(crate) fn run_with(args: &[&str], input: &[u8]) -> Output {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// An address of this machine that nothing listens on.
pub(crate) fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A command that runs beside the test.
pub(crate) struct Running {
    child: Child,
    stdout: Option<Lines>,
    stderr: Lines,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::run(&mut command(args))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: child.stdout.take().map(Lines::of),
            stderr: Lines::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        let stdout = self.stdout.as_ref().expect("standard output is closed");
        stdout.next().expect("standard output ended")
    }

    /// The rest of standard output.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let stdout = self.stdout.as_ref().expect("standard output is closed");
        std::iter::from_fn(|| stdout.next()).collect()
    }

    /// Waits for a line of standard error that contains `text`.
    pub(crate) fn says(&self, text: &str) -> String {
        let mut seen = Vec::new();
        while let Some(line) = self.stderr.next() {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("never said {text:?}, but {seen:?}");
    }

    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends signals, one right after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        let id = self.child.id();
        let kills: Vec<_> = names
            .iter()
            .map(|name| format!("kill -{name} {id}"))
            .collect();
        let status = Command::new("sh")
            .args(["-c", &kills.join(" && ")])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a loss of power would but for what the system has not written yet.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; what was said on standard error until then.
    pub(crate) fn end_with_log(mut self) -> (ExitStatus, Vec<String>) {
        let log = std::iter::from_fn(|| self.stderr.next()).collect();
        (self.child.wait().unwrap(), log)
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> ExitStatus {
        while self.stderr.next().is_some() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Lines(Receiver<String>);

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    fn next(&self) -> Option<String> {
        match self.0.recv_timeout(HANGS) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("nothing for {HANGS:?}"),
        }
    }
}

/// `openline` with a socket that its supervisor has bound, as systemd hands it over.
#[cfg(unix)]
pub(crate) fn supervised(listener: &TcpListener, args: &[&str]) -> Command {
    let socket = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_openline")]);
    command.args(args).stdin(Stdio::from(socket));
    command
}

/// A server on a free port.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&["serve", "--memory", "--listen", "127.0.0.1:0"])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::started(Running::start(args))
    }

    /// One that was started; its address is told first.
    pub(crate) fn started(mut running: Running) -> Self {
        let line = running.line();
        let url = line
            .strip_prefix("listening on ")
            .and_then(|url| url.strip_suffix('/'))
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            url: url.to_owned(),
            running,
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Publishes, and returns the cursor.
    pub(crate) fn publish(&self, channel: &str, body: &str) -> String {
        let output = run(&["publish", channel, body, "--server", &self.url]);
        receipt(&output)["cursor"].as_str().unwrap().to_owned()
    }

    /// Starts to listen, and waits until the connection stands.
    pub(crate) fn listen(&self, args: &[&str]) -> Running {
        let args = [&["listen", "--server", &self.url], args].concat();
        let running = Running::start(&args);
        running.says("connected to");
        running
    }
}

/// The line that a successful `publish` prints.
pub(crate) fn receipt(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    json(text(&output.stdout))
}
