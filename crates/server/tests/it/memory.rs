//! What one connection costs in memory: counted, not measured.

use std::net::TcpStream as Kept;
use std::time::Duration;

use openline_server::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::common::{Harness, request};
use crate::operation::metric;

/// Connections of each kind.
const COUNT: usize = 100;

/// Bytes that the server has allocated for each of so many clients that have sent `request` and read an answer up to `end`,
/// once `gauge` counts them all.
fn held(request: &[u8], end: &str, gauge: &str) -> i64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Harness::with(|config| {
        config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
        config.heartbeat = Duration::from_secs(3600);
        config.request_rate = 10_000;
    }));
    let mut clients = Vec::with_capacity(2 * COUNT);
    let mut some = |so_many: usize| {
        runtime.block_on(async {
            for _ in 0..so_many {
                clients.push(client(&server, request, end).await);
            }
            let all = clients.len() as f64;
            while metric(&server, gauge).await < all {
                tokio::task::yield_now().await;
            }
        });
    };
    // What is made once, and what grows in steps.
    some(COUNT);
    let used = allocation_counter::measure(|| some(COUNT)).bytes_current;
    used / COUNT as i64
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
fn a_listener_costs_little() {
    let sse = request(
        "GET",
        "/channels/a",
        &[("Accept", "text/event-stream")],
        b"",
    );
    let poll = request("GET", "/channels/a", &[("Prefer", "wait=60")], b"");
    let once = request("GET", "/healthz", &[], b"");
    let all = "openline_connections";
    if let Ok(kind) = std::env::var("KIND") {
        match kind.as_str() {
            "silent" => held(b"", "", all),
            "idle" => held(&once, "ok\n", all),
            "sse" => held(&sse, "\n\n\r\n", "openline_listeners{transport=\"sse\"}"),
            _ => held(&poll, "", "openline_listeners{transport=\"poll\"}"),
        };
        return;
    }
    eprintln!("silent {}", held(b"", "", all));
    eprintln!("idle {}", held(&once, "ok\n", all));
    eprintln!(
        "sse {}",
        held(&sse, "\n\n\r\n", "openline_listeners{transport=\"sse\"}")
    );
    eprintln!(
        "poll {}",
        held(&poll, "", "openline_listeners{transport=\"poll\"}")
    );
    panic!();
}
