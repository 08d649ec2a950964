//! The memory that the whole process has, as the system counts it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A reading of the process's resident memory, which is cheap to look at.
#[derive(Debug)]
pub(crate) struct Memory(AtomicUsize);

impl Memory {
    pub(crate) fn new() -> Self {
        let memory = Self(AtomicUsize::new(0));
        memory.read();
        memory
    }

    /// Reads it anew. Where the system does not tell, nothing is known to be used.
    pub(crate) fn read(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = resident(&status).unwrap_or_default();
        self.0.store(resident, Ordering::Relaxed);
    }

    /// Bytes at the last reading.
    pub(crate) fn resident(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self, bound: usize) -> bool {
        self.resident() >= bound
    }
}

/// The number of the line that begins with `VmRSS:`, which is in kB.
fn resident(status: &str) -> Option<usize> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_resident() {
        let status = "Name:\tx\nVmPeak:\t  10 kB\nVmRSS:\t  2048 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(2 << 20));
        assert_eq!(resident("Name:\tx\n"), None);
        if cfg!(target_os = "linux") {
            assert!(Memory::new().resident() > 100_000);
        }
    }
}
