//! The attacks that WebSocket libraries have fallen to, and the defects of some: what the library does over its transports, in
//! both roles. What the core does is in its own tests.
//!
//! Each test bears the number that `docs/attacks.md` has for its row. Memory is counted in bytes, as the allocator sees it, on the
//! one thread that runs both ends.

#[path = "../common/mod.rs"]
mod common;

mod bombs;
mod claims;
mod floods;
mod handshake;
mod masks;
mod pieces;
mod serving;
mod slow;
mod zero;

use std::future::Future;

use openline::{Acceptor, Client, Config, Stream, WebSocket};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

use crate::common::{REQUEST, opening_answer, read_head};

/// The buffer for reads that all connections of a thread share.
const SCRATCH: usize = 64 * 1024;

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// Bytes of heap.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// All that is allocated at one time, at most.
    peak: u64,
    /// What stays.
    kept: u64,
}

/// What a future allocates.
fn memory<T>(runtime: &Runtime, future: impl Future<Output = T>) -> (T, Memory) {
    let mut value = None;
    let used = allocation_counter::measure(|| value = Some(runtime.block_on(future)));
    let memory = Memory {
        peak: used.bytes_max,
        kept: used.bytes_current.max(0) as u64,
    };
    (value.expect("it ran"), memory)
}

/// A connection that the library has opened, as a server or as a client, and the raw peer's end of it. Compression is agreed
/// on if `config` wants it.
async fn opened(server: bool, config: Config) -> (WebSocket, DuplexStream) {
    let (here, mut there) = duplex(1 << 16);
    let here = Stream::new(here);
    // A client's offer has a hint that an answer can't have.
    let extension = config.deflate_settings().map_or(String::new(), |settings| {
        let offer = settings.offer().to_string();
        let answer = offer.replace("; client_max_window_bits", "");
        format!("Sec-WebSocket-Extensions: {answer}\r\n")
    });
    if server {
        let request = REQUEST.replace("\r\n\r\n", &format!("\r\n{extension}\r\n"));
        there.write_all(request.as_bytes()).await.unwrap();
        let acceptor = Acceptor::default().config(config);
        let ws = acceptor.accept(here).await.unwrap();
        assert!(read_head(&mut there).await.starts_with("HTTP/1.1 101 "));
        return (ws, there);
    }
    let client = Client::new("ws://x/").unwrap().config(config);
    let answer = async {
        let request = read_head(&mut there).await;
        let answer = format!("{}{extension}\r\n", opening_answer(&request));
        there.write_all(answer.as_bytes()).await.unwrap();
    };
    let (connected, ()) = tokio::join!(client.connect_over(here), answer);
    (connected.unwrap().0, there)
}
