//! The areas, and what belongs to which.

use super::symbols::Binary;
use super::{ByArea, Spot, Spots};

/// All areas together.
pub const ALL: &str = "all of it";

/// What is done in the kernel, by a part of the system call's name.
const SYSTEM_CALLS: [(&str, &[&str]); 3] = [
    ("kernel: epoll", &["epoll"]),
    ("kernel: receive", &["recv", "read"]),
    ("kernel: send", &["send", "write"]),
];
const KERNEL: &str = "kernel: the rest";

/// Functions of the C library, by a part of their names.
const FUNCTIONS: [(&str, &[&str]); 3] = [
    ("copying (memcpy)", &["memcpy", "memmove", "memset"]),
    (
        "allocator",
        &["alloc", "free", "malloc_consolidate", "unlink_chunk"],
    ),
    ("clock", &["clock_gettime"]),
];

/// Code of our own and of crates, by how its file begins: `CRATE/src/…`. What is inlined is where it was written. What is in no
/// area, as the standard library's code and that of small crates, is where it was called from.
const FILES: [(&str, &[&str]); 9] = [
    (
        "library: receive",
        &[
            "openline/src/receive",
            "openline/src/lent",
            "openline/src/scratch",
            "openline/src/stream",
        ],
    ),
    (
        "library: send",
        &[
            "openline/src/shared",
            "openline/src/cork",
            "openline/src/outgoing",
            "openline/src/split",
        ],
    ),
    ("library: tasks, timers", &["openline/"]),
    (
        "core: decode, unmask",
        &[
            "proto/src/inbound",
            "proto/src/frame",
            "proto/src/mask",
            "proto/src/assembly",
            "proto/src/utf8",
        ],
    ),
    ("core: outbox, timers", &["proto/"]),
    (
        "push: transports, HTTP",
        &[
            "server/src/transport/",
            "server/src/http/",
            "server/src/server",
            "server/src/connection",
            "hyper/",
            "hyper-util/",
            "httparse/",
            "http/",
        ],
    ),
    ("push: hub, queues, counts", &["server/", "cli/"]),
    (
        "tokio: reactor, sockets",
        &[
            "mio/",
            "tokio/src/runtime/io/",
            "tokio/src/net/",
            "tokio/src/io/",
        ],
    ),
    (
        "tokio: scheduler, timers",
        &[
            "tokio/src/runtime/",
            "tokio/src/task/",
            "tokio/src/time/",
            "tokio/src/sync/",
        ],
    ),
];
/// What is left: mostly the C library's way into the kernel.
const REST: &str = "the rest";

/// All of them, in the order of the page.
pub fn names() -> impl Iterator<Item = &'static str> {
    let kernel = SYSTEM_CALLS.iter().map(|(area, _)| *area).chain([KERNEL]);
    let own = FILES.iter().chain(&FUNCTIONS).map(|(area, _)| *area);
    kernel.chain(own).chain([REST])
}

fn named(
    table: &[(&'static str, &[&str])],
    belongs: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    let mut areas = table.iter();
    areas
        .find(|(_, parts)| parts.iter().any(|part| belongs(part)))
        .map(|(area, _)| *area)
}

/// `…/tokio-1.54.1/src/task/mod.rs` is `tokio/src/task/mod.rs`, wherever it is kept.
fn in_its_crate(file: &str) -> Option<String> {
    let inside = ["/src/", "/examples/"]
        .iter()
        .filter_map(|part| file.rfind(part));
    let (before, path) = file.split_at(inside.max()?);
    let folder = before.rsplit('/').next()?;
    let name = match folder.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => folder,
    };
    Some(format!("{name}{path}"))
}

fn area(spot: &Spot, binary: &Binary) -> &'static str {
    let found = match spot {
        Spot::Kernel(call) => {
            let known = call
                .as_deref()
                .and_then(|call| named(&SYSTEM_CALLS, |part| call.contains(part)));
            return known.unwrap_or(KERNEL);
        }
        Spot::Library(function) => named(&FUNCTIONS, |part| function.contains(part)),
        Spot::Own(address) => {
            let files = binary.files(*address);
            let mut files = files.iter().filter_map(|file| in_its_crate(file));
            files.find_map(|file| named(&FILES, |part| file.starts_with(part)))
        }
    };
    found.unwrap_or(REST)
}

pub fn by_area(spots: &Spots, binary: &Binary) -> ByArea {
    let mut areas = ByArea::new();
    for (spot, &weight) in spots {
        *areas.entry(area(spot, binary)).or_default() += weight as f64;
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_crate() {
        let of = |file| in_its_crate(file).unwrap_or_default();
        assert_eq!(
            of("/home/a/.cargo/registry/src/index-1/tokio-1.54.1/src/net/tcp/stream.rs"),
            "tokio/src/net/tcp/stream.rs"
        );
        assert_eq!(of("/a/src/b/crates/proto/src/mask.rs"), "proto/src/mask.rs");
        assert_eq!(
            of("/rustc/59807/library/core/src/sync/atomic.rs"),
            "core/src/sync/atomic.rs"
        );
        assert_eq!(
            of("/a/crates/openline/examples/echo.rs"),
            "openline/examples/echo.rs"
        );
    }
}
