//! Where a server's time goes: what `perf` and `callgrind` see of it, put together by area.

mod areas;
mod callgrind;
mod perf;
mod symbols;

pub use areas::{ALL, names};
pub use callgrind::Callgrind;
pub use perf::Perf;
pub use symbols::Binary;

use std::collections::BTreeMap;

/// Where one bit of it was spent.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Spot {
    /// In this system call, or in an interrupt.
    Kernel(Option<String>),
    /// In the server's own file, at this address of it.
    Own(u64),
    /// In this function of a shared library.
    Library(String),
}

/// Samples, or instructions, at each spot.
type Spots = BTreeMap<Spot, u64>;

/// By area: how much of it all.
pub type ByArea = BTreeMap<&'static str, f64>;
