//! What compression costs a connection in memory: heap bytes per server connection, counted by the allocator while 100 of them
//! have each received and sent ten messages and wait for more. `cargo run --release -p openline-proto --example deflate_memory`

use std::io::{IoSlice, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openline_proto::handshake::deflate::Agreed;
use openline_proto::{Config, Connection, Deflate, Input, Takeover};

const CONNECTIONS: i64 = 100;

/// More compressors than these no thread keeps to lend.
const ENOUGH: usize = 4;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| takeover | client's context | window bits | heap per connection | after a minute's silence |"
    )?;
    writeln!(out, "| --- | --- | --- | ---: | ---: |")?;
    for (takeover, client_alone) in [
        (Takeover::Always, false),
        (Takeover::Always, true),
        (Takeover::UntilIdle, false),
        (Takeover::UntilIdle, true),
        (Takeover::Never, false),
        (Takeover::Never, true),
    ] {
        for bits in [15, 12, 9] {
            let deflate = Deflate::default()
                .takeover(takeover)
                .server_max_window_bits(bits)
                .client_max_window_bits(bits)
                .client_no_context_takeover(client_alone);
            // A thread each, for the compressors that a thread lends are no connection's.
            let (busy, idle) = std::thread::scope(|scope| {
                scope.spawn(|| measure(deflate)).join().unwrap_or_default()
            });
            let kept = if client_alone { "not kept" } else { "kept" };
            writeln!(
                out,
                "| `{takeover:?}` | {kept} | {bits} | {busy} B | {idle} B |"
            )?;
        }
    }
    Ok(())
}

/// Heap bytes of a connection: while it is in use, and after a minute in which nothing was sent.
fn measure(deflate: Deflate) -> (i64, i64) {
    let config = Arc::new(Config::default().deflate(Some(deflate)));
    let policy = deflate.policy();
    let agreed = Agreed {
        server_no_context_takeover: policy.server_no_context_takeover,
        client_no_context_takeover: policy.client_no_context_takeover,
        server_max_window_bits: policy.server_max_window_bits,
        client_max_window_bits: policy.client_max_window_bits,
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "an example has to begin somewhere"
    )]
    let now = Instant::now();
    let mut connections = Vec::with_capacity(CONNECTIONS as usize);
    // From here on the thread has one compressor to lend, which the clients take in turn.
    let _first = talk(&config, agreed, now);
    let busy = allocation_counter::measure(|| {
        connections.extend((0..CONNECTIONS).map(|_| talk(&config, agreed, now)));
    });
    for connection in &mut connections {
        for seconds in [30, 60] {
            let later = now + Duration::from_secs(seconds);
            let _ = connection.handle_timeout(later);
            // The peer's pong, which keeps the connection.
            let _ = connection.handle_input(later, &mut Input::new(&mut [0x8a, 0x80, 0, 0, 0, 0]));
            flush(connection);
        }
    }
    // What was given back went to the thread, until it had enough of them, or was freed. What the connections still own goes
    // with them.
    connections.truncate(connections.len() - ENOUGH);
    let left = connections.len() as i64;
    let idle = allocation_counter::measure(|| connections.clear());
    (busy.bytes_current / CONNECTIONS, -idle.bytes_current / left)
}

/// A server's connection that has echoed ten messages.
fn talk(config: &Arc<Config>, agreed: Agreed, now: Instant) -> Connection {
    let mut client =
        Connection::client(Arc::clone(config), || [1, 2, 3, 4], now).with_deflate(Some(agreed));
    let mut server = Connection::server(Arc::clone(config), now).with_deflate(Some(agreed));
    for number in 0..10 {
        let message =
            format!(r#"{{"flight":"UA{number}","status":"scheduled","late_min":{number}}}"#)
                .repeat(30);
        client
            .send_text(&message)
            .expect("an empty outbox has room");
        let mut bytes = flush(&mut client);
        let mut input = Input::new(&mut bytes);
        while let Ok(Some(event)) = server.handle_input(now, &mut input) {
            let message = event.into_message().expect("nothing else was sent");
            server.send(message).expect("an empty outbox has room");
        }
        flush(&mut server);
    }
    server
}

fn flush(connection: &mut Connection) -> Vec<u8> {
    let mut output = Vec::new();
    while connection.queued() > 0 {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.poll_slices(&mut slices);
        let before = output.len();
        for slice in &slices[..filled] {
            output.extend_from_slice(slice);
        }
        connection.written(output.len() - before);
    }
    output
}
