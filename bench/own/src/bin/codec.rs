//! The codec alone: `codec list` tells what there is, `codec run CASE WHO MILLISECONDS` prints nanoseconds.

use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use openline_bench::wire::{TEXT, client_frame, payload};
use openline_proto::{Config, Connection, Event, Header, Input, Opcode, Role};
use sockudo_ws::protocol::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::{Decoder as _, Encoder as _};

const BATCH: usize = 100;
const SIZE: usize = 125;
const MASK_LARGE: &str = "mask 1 MiB";
const MASK_SMALL: &str = "mask 4 KiB";
const UTF8: &str = "receive 64 KiB of mixed text";
const DECODE_FRAME: &str = "decode a frame";
const ENCODE_FRAME: &str = "encode a frame";
const RECEIVE: &str = "receive a message";
const SEND: &str = "send a message";

const OPENLINE: &str = "Openline";
const MEMCPY: &str = "memcpy";
const SIMDUTF8: &str = "binary, then simdutf8";

/// All that can be measured: what, and by whom. A frame is what the codec alone makes of it; a message is what a connection's
/// state makes of it, without a network.
const JOBS: [(&str, &str); 22] = [
    (MASK_LARGE, MEMCPY),
    (MASK_LARGE, OPENLINE),
    (MASK_SMALL, MEMCPY),
    (MASK_SMALL, OPENLINE),
    (UTF8, SIMDUTF8),
    (UTF8, OPENLINE),
    (DECODE_FRAME, OPENLINE),
    (DECODE_FRAME, "sockudo-ws"),
    (DECODE_FRAME, "yawc"),
    (ENCODE_FRAME, OPENLINE),
    (ENCODE_FRAME, "sockudo-ws"),
    (ENCODE_FRAME, "yawc"),
    (RECEIVE, OPENLINE),
    (RECEIVE, "tungstenite"),
    (RECEIVE, "fastwebsockets"),
    (RECEIVE, "tokio-websockets"),
    (RECEIVE, "sockudo-ws"),
    (SEND, OPENLINE),
    (SEND, "tungstenite"),
    (SEND, "fastwebsockets"),
    (SEND, "tokio-websockets"),
    (SEND, "sockudo-ws"),
];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => {
            let mut out = io::stdout().lock();
            JOBS.iter()
                .try_for_each(|(case, who)| writeln!(out, "{case}\t{who}"))
        }
        ["run", case, who, milliseconds] => {
            let time = Duration::from_millis(milliseconds.parse().map_err(io::Error::other)?);
            let nanoseconds =
                run(case, who, time).ok_or_else(|| io::Error::other("there is no such job"))?;
            writeln!(io::stdout(), "{nanoseconds}")
        }
        _ => Err(io::Error::other(
            "usage: codec list, or codec run CASE WHO MILLISECONDS",
        )),
    }
}

fn run(case: &str, who: &str, time: Duration) -> Option<f64> {
    let each = match (case, who) {
        (MASK_LARGE, _) => mask(who, 1 << 20, time),
        (MASK_SMALL, _) => mask(who, 4096, time),
        (UTF8, OPENLINE) => receive(time, TEXT, |event| matches!(event, Event::Text(_))),
        (UTF8, SIMDUTF8) => receive(time, openline_bench::wire::BINARY, |event| match event {
            Event::Binary(bytes) => simdutf8::basic::from_utf8(bytes).is_ok(),
            _ => false,
        }),
        (DECODE_FRAME, _) => decode_frame(who, time)? / BATCH as f64,
        (ENCODE_FRAME, _) => encode_frame(who, time)? / BATCH as f64,
        (RECEIVE, _) => receive_messages(who, time)? / BATCH as f64,
        (SEND, _) => send_messages(who, time)? / BATCH as f64,
        _ => return None,
    };
    Some(each)
}

/// Nanoseconds of one call: the median of short stretches, so that what interrupts some of them does not count.
fn clock(time: Duration, mut call: impl FnMut()) -> f64 {
    const STRETCH: Duration = Duration::from_micros(200);
    let begun = Instant::now();
    let mut calls = 0u32;
    while begun.elapsed() < time / 10 {
        call();
        calls += 1;
    }
    let stretch =
        (f64::from(calls) * STRETCH.as_secs_f64() / begun.elapsed().as_secs_f64()).max(1.0) as u32;
    let mut stretches = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time || stretches.len() < 5 {
        let start = Instant::now();
        for _ in 0..stretch {
            call();
        }
        stretches.push(start.elapsed().as_nanos() as f64 / f64::from(stretch));
    }
    stretches.sort_unstable_by(f64::total_cmp);
    stretches[stretches.len() / 2]
}

fn mask(who: &str, size: usize, time: Duration) -> f64 {
    let from = payload(size);
    let mut to = from.clone();
    if who == MEMCPY {
        clock(time, || {
            black_box(&mut to).copy_from_slice(black_box(&from))
        })
    } else {
        clock(time, || {
            openline_proto::mask(black_box(&mut to), black_box([1, 2, 3, 4]), 0)
        })
    }
}

/// A message of text in several scripts.
fn mixed(size: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < size {
        text.push_str("The quick brown fox, le cœur déçu, Съешь же ещё, 我能吞下玻璃 🦊. ");
    }
    while text.len() > size {
        text.pop();
    }
    text.into_bytes()
}

fn receive(time: Duration, opcode: u8, mut is_right: impl FnMut(&Event<'_>) -> bool) -> f64 {
    let frame = client_frame(opcode, &mixed(64 * 1024));
    let now = Instant::now();
    let mut connection = Connection::server(Arc::new(Config::default()), now);
    let mut bytes = frame.clone();
    clock(time, || {
        bytes.copy_from_slice(&frame);
        let event = connection.handle_input(now, &mut Input::new(&mut bytes));
        assert!(
            event.is_ok_and(|event| event.is_some_and(|event| is_right(&event))),
            "a message of its kind"
        );
    })
}

/// Nanoseconds of [`BATCH`] frames, payloads unmasked. The bytes are copied to where the codec wants them.
fn decode_frame(who: &str, time: Duration) -> Option<f64> {
    let frames = client_frame(TEXT, &payload(SIZE)).repeat(BATCH);
    Some(match who {
        OPENLINE => {
            let mut bytes = frames.clone();
            clock(time, || {
                bytes.copy_from_slice(&frames);
                let mut rest = &mut bytes[..];
                let mut count = 0;
                while let Ok(Some((header, size))) = Header::parse(rest, Role::Server, false) {
                    let (frame, next) =
                        std::mem::take(&mut rest).split_at_mut(size + header.length as usize);
                    let payload = &mut frame[size..];
                    openline_proto::mask(payload, header.mask.unwrap_or_default(), 0);
                    black_box((header, payload));
                    rest = next;
                    count += 1;
                }
                assert_eq!(count, BATCH);
            })
        }
        "yawc" => {
            let mut decoder = yawc::codec::Decoder::new(yawc::Role::Server, 1 << 20);
            let mut bytes = BytesMut::new();
            clock(time, || {
                bytes.extend_from_slice(&frames);
                let mut count = 0;
                while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
                    black_box(&frame);
                    count += 1;
                }
                assert_eq!(count, BATCH);
            })
        }
        "sockudo-ws" => {
            let mut parser = sockudo_ws::frame::FrameParser::new(1 << 20, true);
            let mut bytes = BytesMut::new();
            clock(time, || {
                bytes.extend_from_slice(&frames);
                let mut count = 0;
                while let Ok(Some(frame)) = parser.parse(&mut bytes) {
                    black_box(&frame);
                    count += 1;
                }
                assert_eq!(count, BATCH);
            })
        }
        _ => return None,
    })
}

/// Nanoseconds of [`BATCH`] frames, appended to one buffer.
fn encode_frame(who: &str, time: Duration) -> Option<f64> {
    let shared = Bytes::from(payload(SIZE));
    let mut out = BytesMut::with_capacity(64 * 1024);
    Some(match who {
        OPENLINE => clock(time, || {
            for _ in 0..BATCH {
                let header = Header {
                    fin: true,
                    opcode: Opcode::Text,
                    compressed: false,
                    mask: None,
                    length: shared.len() as u64,
                };
                header.encode(&mut out);
                out.extend_from_slice(&shared);
            }
            black_box(&out);
            out.clear();
        }),
        "yawc" => {
            let mut encoder = yawc::codec::Encoder::new(yawc::Role::Server);
            clock(time, || {
                for _ in 0..BATCH {
                    let done = encoder.encode(yawc::Frame::text(shared.clone()), &mut out);
                    assert!(done.is_ok());
                }
                black_box(&out);
                out.clear();
            })
        }
        "sockudo-ws" => clock(time, || {
            for _ in 0..BATCH {
                sockudo_ws::frame::encode_frame(
                    &mut out,
                    sockudo_ws::OpCode::Text,
                    &shared,
                    true,
                    None,
                );
            }
            black_box(&out);
            out.clear();
        }),
        _ => return None,
    })
}

/// Nanoseconds of [`BATCH`] messages of text, checked, from a stream or a buffer in memory.
fn receive_messages(who: &str, time: Duration) -> Option<f64> {
    let frames = client_frame(TEXT, &payload(SIZE)).repeat(BATCH);
    Some(match who {
        OPENLINE => {
            let now = Instant::now();
            let mut connection = Connection::server(Arc::new(Config::default()), now);
            let mut bytes = frames.clone();
            clock(time, || {
                bytes.copy_from_slice(&frames);
                let mut input = Input::new(&mut bytes);
                let mut count = 0;
                while let Ok(Some(event)) = connection.handle_input(now, &mut input) {
                    black_box(&event);
                    count += 1;
                }
                assert_eq!(count, BATCH);
            })
        }
        "tungstenite" => {
            use tungstenite::protocol::{Role, WebSocket};
            let mut ws = WebSocket::from_raw_socket(Memory::new(frames), Role::Server, None);
            clock(time, || {
                for _ in 0..BATCH {
                    black_box(ws.read().expect("a message"));
                }
            })
        }
        "fastwebsockets" => {
            let mut ws = fastwebsockets::WebSocket::after_handshake(
                Memory::new(frames),
                fastwebsockets::Role::Server,
            );
            clock(time, || {
                for _ in 0..BATCH {
                    let frame = ws
                        .read_frame()
                        .now_or_never()
                        .expect("memory is always ready");
                    assert!(black_box(frame.is_ok_and(|frame| frame.is_utf8())));
                }
            })
        }
        "tokio-websockets" => {
            let mut ws = tokio_websockets::ServerBuilder::new().serve(Memory::new(frames));
            clock(time, || {
                for _ in 0..BATCH {
                    let message = ws.next().now_or_never().expect("memory is always ready");
                    assert!(black_box(message.expect("a message").is_ok()));
                }
            })
        }
        "sockudo-ws" => {
            let mut protocol = Protocol::new(sockudo_ws::Role::Server, 1 << 20, 1 << 20);
            let mut bytes = BytesMut::new();
            let mut messages = Vec::new();
            clock(time, || {
                bytes.extend_from_slice(&frames);
                let decoded = protocol.process_into(&mut bytes, &mut messages);
                assert!(decoded.is_ok());
                assert_eq!(black_box(&messages).len(), BATCH);
                messages.clear();
            })
        }
        _ => return None,
    })
}

/// Nanoseconds of [`BATCH`] messages of text, to a stream in memory, or as far as the bytes for one are at hand.
fn send_messages(who: &str, time: Duration) -> Option<f64> {
    let text = String::from_utf8(payload(SIZE)).expect("a payload is text");
    let shared = Bytes::from(text.clone());
    Some(match who {
        OPENLINE => {
            let mut connection = Connection::server(Arc::new(Config::default()), Instant::now());
            clock(time, || {
                for _ in 0..BATCH {
                    assert!(connection.send_text(&text).is_ok());
                }
                while connection.queued() > 0 {
                    let mut slices = [IoSlice::new(&[]); 64];
                    let count = connection.poll_slices(&mut slices);
                    let bytes = black_box(&slices[..count])
                        .iter()
                        .map(|slice| slice.len())
                        .sum();
                    connection.written(bytes);
                }
            })
        }
        "tungstenite" => {
            use tungstenite::protocol::{Role, WebSocket};
            let mut ws = WebSocket::from_raw_socket(Memory::new(Vec::new()), Role::Server, None);
            let text = tungstenite::Utf8Bytes::try_from(shared).expect("a payload is text");
            clock(time, || {
                for _ in 0..BATCH {
                    let message = tungstenite::Message::Text(text.clone());
                    assert!(ws.write(message).is_ok());
                }
                assert!(ws.flush().is_ok());
            })
        }
        "fastwebsockets" => {
            let stream = Memory::new(Vec::new());
            let mut ws =
                fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Server);
            clock(time, || {
                for _ in 0..BATCH {
                    let frame =
                        fastwebsockets::Frame::text(fastwebsockets::Payload::Borrowed(&shared));
                    let done = ws
                        .write_frame(frame)
                        .now_or_never()
                        .expect("memory is always ready");
                    assert!(done.is_ok());
                }
            })
        }
        "tokio-websockets" => {
            let mut ws = tokio_websockets::ServerBuilder::new().serve(Memory::new(Vec::new()));
            let payload = tokio_websockets::Payload::from(shared);
            clock(time, || {
                for _ in 0..BATCH {
                    let message = tokio_websockets::Message::text(payload.clone());
                    let fed = ws
                        .feed(message)
                        .now_or_never()
                        .expect("memory is always ready");
                    assert!(fed.is_ok());
                }
                let flushed = ws.flush().now_or_never().expect("memory is always ready");
                assert!(flushed.is_ok());
            })
        }
        "sockudo-ws" => {
            let mut protocol = Protocol::new(sockudo_ws::Role::Server, 1 << 20, 1 << 20);
            let mut out = BytesMut::with_capacity(64 * 1024);
            clock(time, || {
                for _ in 0..BATCH {
                    let message = sockudo_ws::Message::Text(shared.clone());
                    assert!(protocol.encode_message(&message, &mut out).is_ok());
                }
                black_box(&out);
                out.clear();
            })
        }
        _ => return None,
    })
}

/// A stream that gives the same bytes again and again, and takes all.
#[derive(Debug)]
struct Memory {
    bytes: Vec<u8>,
    at: usize,
}

impl Memory {
    const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.at..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.read(buffer.initialize_unfilled())?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
