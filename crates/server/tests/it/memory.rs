//! What one connection costs in memory: counted, not measured.

use std::net::TcpStream as Kept;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::common::{Harness, request, soon};
use crate::operation::{metric, with_metrics};

/// Connections of each kind.
const COUNT: usize = 100;
/// All that hyper allocates at once for a connection is 16 KiB: none of it is left while a client waits.
const BOUND: i64 = 6 * 1024;

/// Checks what the server has allocated for each of many clients that have sent `request` and read an answer up to `end`, once
/// `gauge` counts them all and `time` has passed.
fn check(request: &[u8], end: &str, gauge: &str, time: Duration) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Harness::with(|config| {
        with_metrics(config);
        config.request_rate = 10_000;
    }));
    let mut clients = Vec::with_capacity(2 * COUNT);
    let mut some = || {
        runtime.block_on(async {
            for _ in 0..COUNT {
                clients.push(client(&server, request, end).await);
            }
            let all = clients.len() as f64;
            soon(async { while metric(&server, gauge).await < all {} }).await;
            tokio::time::pause();
            tokio::time::advance(time).await;
            tokio::time::resume();
            // Whoever's time has come has had its turn by then, as has the connection that asked.
            metric(&server, gauge).await;
        });
    };
    // What is made once, and what grows in steps.
    some();
    let used = allocation_counter::measure(some).bytes_current / COUNT as i64;
    assert!((1..BOUND).contains(&used), "{used} bytes each");
}

/// A client that costs no memory of this process.
async fn client(server: &Harness, request: &[u8], end: &str) -> Kept {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        got.push(stream.read_u8().await.unwrap());
    }
    stream.into_std().unwrap()
}

#[test]
fn one_that_has_asked_nothing_costs_little() {
    check(b"", "", "openline_connections", Duration::ZERO);
}

#[test]
fn one_that_asks_nothing_more_costs_little() {
    let once = request("GET", "/healthz", &[], b"");
    check(
        &once,
        "ok\n",
        "openline_connections",
        Duration::from_secs(2),
    );
}

#[test]
fn a_listener_to_a_stream_costs_little() {
    for (accept, end, gauge) in [
        (
            "text/event-stream",
            "\n\n\r\n",
            "openline_listeners{transport=\"sse\"}",
        ),
        (
            "application/x-ndjson",
            "\n\r\n",
            "openline_listeners{transport=\"ndjson\"}",
        ),
    ] {
        let stream = request("GET", "/channels/a", &[("Accept", accept)], b"");
        check(&stream, end, gauge, Duration::ZERO);
    }
}

#[test]
fn a_held_poll_costs_little() {
    let gauge = "openline_listeners{transport=\"poll\"}";
    for path in ["/channels/a", "/channels/a?since="] {
        let poll = request("GET", path, &[("Prefer", "wait=60")], b"");
        check(&poll, "", gauge, Duration::ZERO);
    }
}
