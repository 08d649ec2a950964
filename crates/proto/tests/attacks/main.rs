//! The attacks that WebSocket libraries have fallen to, and the defects of some: what the core does, in both roles.
//!
//! Each test bears the number that `docs/attacks.md` has for its row. Memory is counted in bytes, as the allocator sees it: all that
//! is allocated at one time ([`bytes_max`](allocation_counter::AllocationInfo)), and what stays.
//!
//! Where work must be linear in its input, no clock is asked: the input is so large that a quadratic algorithm would go on
//! for many minutes, and a test that runs for two is ended by its runner (`ci/nextest.toml`).

#[path = "../pair/mod.rs"]
mod pair;

mod allocation;
mod floods;
mod fragments;
mod frames;
mod handshake;
mod inflation;
mod lists;
mod secrets;
mod slow;
mod text;
mod victim;
mod zero;

/// What is allocated at one time while `act` runs, at most, and what of it stays.
fn memory(act: impl FnOnce()) -> Memory {
    let used = allocation_counter::measure(act);
    Memory {
        peak: used.bytes_max,
        kept: used.bytes_current.max(0) as u64,
    }
}

/// Bytes of heap.
#[derive(Clone, Copy, Debug)]
struct Memory {
    peak: u64,
    kept: u64,
}

impl Memory {
    /// Checks both bounds.
    #[track_caller]
    fn is_within(self, peak: usize, kept: usize, of: impl std::fmt::Debug) {
        assert!(self.peak <= peak as u64, "{self:?}, allowed {peak}: {of:?}");
        assert!(
            self.kept <= kept as u64,
            "{self:?}, may keep {kept}: {of:?}"
        );
    }
}
