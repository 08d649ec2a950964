//! What compression costs a connection and what it gains: `cargo run --release -p openline-proto --example deflate_cost`. The figures
//! of `docs/deflate.md` are from here.
//!
//! Memory is heap bytes per server connection, counted by the allocator, while 100 of them have each received and sent ten
//! messages and wait for more. Size and time are those of a small JSON message, of which a connection sends many.

use std::io::{IoSlice, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openline_proto::handshake::deflate::Agreed;
use openline_proto::{Config, Connection, Deflate, Input, Takeover};

const CONNECTIONS: i64 = 100;

/// More compressors than these no thread keeps to lend.
const ENOUGH: usize = 4;

const MESSAGES: u32 = 20_000;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| takeover | client's context | window bits | heap per connection | when idle |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for takeover in [Takeover::Always, Takeover::UntilIdle, Takeover::Never] {
        for client_alone in [false, true] {
            for bits in [15, 12, 9] {
                let deflate = Deflate::default()
                    .takeover(takeover)
                    .server_max_window_bits(bits)
                    .client_max_window_bits(bits)
                    .client_no_context_takeover(client_alone);
                // A thread each, for the compressors that a thread lends are no connection's.
                let (busy, idle) = std::thread::scope(|scope| {
                    scope.spawn(|| memory(deflate)).join().unwrap_or_default()
                });
                let kept = if client_alone { "not kept" } else { "kept" };
                writeln!(
                    out,
                    "| `{takeover:?}` | {kept} | {bits} | {busy} | {idle} |"
                )?;
            }
        }
    }

    writeln!(out, "\n| | level | bytes per message | time to send |")?;
    writeln!(out, "|---|---|---|---|")?;
    let (bytes, time) = cost(None);
    writeln!(out, "| uncompressed | | {bytes} | {time:.2?} |")?;
    for takeover in [Takeover::Always, Takeover::Never] {
        for level in [1, 3, 6, 9] {
            let deflate = Deflate::default().takeover(takeover).level(level);
            let (bytes, time) = cost(Some(deflate));
            writeln!(out, "| `{takeover:?}` | {level} | {bytes} | {time:.2?} |")?;
        }
    }
    Ok(())
}

/// Bytes on the wire and time of a message that a server sends.
fn cost(deflate: Option<Deflate>) -> (usize, Duration) {
    let agreed = deflate.map(|deflate| agreed(&deflate));
    let config = Arc::new(Config::default().deflate(deflate));
    let messages: Vec<String> = (0..MESSAGES).map(flight).collect();
    let mut server = Connection::server(config, now()).with_deflate(agreed);
    let (mut bytes, start) = (0, now());
    for message in &messages {
        server.send_text(message).expect("an empty outbox has room");
        bytes += server.queued();
        server.written(server.queued());
    }
    (bytes / MESSAGES as usize, (now() - start) / MESSAGES)
}

/// What a departure board is told of a flight.
fn flight(number: u32) -> String {
    let dice = number.wrapping_mul(2_654_435_761) >> 8;
    let carrier = ["UA", "DL", "B6", "AA", "EV"][dice as usize % 5];
    let dest = ["IAH", "ATL", "BOS", "LAX", "ORD", "MIA", "SFO"][dice as usize / 5 % 7];
    let status = ["scheduled", "late", "departed", "arrived"][dice as usize / 35 % 4];
    let (hour, minute, delay) = (dice / 140 % 24, dice / 3360 % 60, dice / 7 % 90);
    format!(
        r#"{{"flight":"{carrier}{number}-EWR","carrier":"{carrier}","number":{number},"tailnum":"N{dice}","origin":"EWR","origin_name":"Newark Liberty Intl","dest":"{dest}","scheduled":"2013-09-12T{hour:02}:{minute:02}:00-04:00","status":"{status}","basis":"data","dep_delay":{delay},"run":1}}"#
    )
}

#[allow(clippy::disallowed_methods, reason = "to measure is the example's job")]
fn now() -> Instant {
    Instant::now()
}

/// What a client that can do anything and a server agree on.
fn agreed(deflate: &Deflate) -> Agreed {
    let policy = deflate.policy();
    Agreed {
        server_no_context_takeover: policy.server_no_context_takeover,
        client_no_context_takeover: policy.client_no_context_takeover,
        server_max_window_bits: policy.server_max_window_bits,
        client_max_window_bits: policy.client_max_window_bits,
    }
}

/// Heap bytes of a connection: while it is in use, and after a minute in which nothing was sent.
fn memory(deflate: Deflate) -> (i64, i64) {
    let config = Arc::new(Config::default().deflate(Some(deflate)));
    let (agreed, now) = (agreed(&deflate), now());
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
        client
            .send_text(&flight(number).repeat(5))
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
