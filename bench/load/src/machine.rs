//! What the figures were measured on, and of which versions.

use std::fmt;
use std::fs;
use std::io;

/// The crates whose versions matter to the figures.
const CRATES: [&str; 13] = [
    "tokio-tungstenite",
    "tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "sockudo-ws",
    "yawc",
    "axum",
    "hyper",
    "tokio",
    "rustls",
    "ring",
    "simdutf8",
    "bytes",
];

pub struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory_gib: u64,
}

pub fn facts() -> io::Result<Machine> {
    let line = |path: &str, name: &str| -> io::Result<Option<String>> {
        let text = fs::read_to_string(path)?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'));
        Ok(found.map(|(_, value)| value.trim().to_owned()))
    };
    let memory = line("/proc/meminfo", "MemTotal")?.unwrap_or_default();
    let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(Machine {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        processor: line("/proc/cpuinfo", "model name")?
            .unwrap_or_else(|| "unknown processor".into()),
        processors: std::thread::available_parallelism()?.get(),
        memory_gib: kibibytes.div_ceil(1 << 20),
    })
}

impl Machine {
    /// All of it in one line, for the page.
    pub fn line(&self) -> String {
        format!(
            "Linux {}, {} ({} of them), {} GiB",
            self.kernel, self.processor, self.processors, self.memory_gib
        )
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line())?;
        for (name, version) in versions() {
            writeln!(f, "{name} {version}")?;
        }
        Ok(())
    }
}

/// The peers' versions, out of the lock files that they were built with.
pub fn versions() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let lock = include_str!("../../Cargo.lock");
    for name in CRATES {
        found.extend(locked(lock, name).map(|version| (name, version)));
    }
    let lock = include_str!("../../uws/Cargo.lock");
    let name = "libuwebsockets-sys";
    found.extend(locked(lock, name).map(|version| (name, version)));
    let lock = include_str!("../../node/package-lock.json");
    for name in ["socket.io", "ws"] {
        let package = lock.split_once(&format!("\"node_modules/{name}\": {{"));
        let version = package.and_then(|(_, rest)| rest.split_once("\"version\": \""));
        let version = version.and_then(|(_, rest)| rest.split_once('"'));
        found.extend(version.map(|(version, _)| (name, version)));
    }
    found
}

/// The versions of a crate in a lock file of Cargo's.
fn locked<'a>(lock: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let name = format!("\"{name}\"");
    lock.split("[[package]]\n").filter_map(move |package| {
        let mut lines = package.lines().filter_map(|line| line.split_once(" = "));
        let (_, named) = lines.next()?;
        let (_, version) = lines.next()?;
        (named == name).then(|| version.trim_matches('"'))
    })
}
