//! The codec alone: `codec list` tells what there is, `codec run CASE MILLISECONDS` prints the nanoseconds of all who do it.

use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use openline_bench::wire::{BINARY, TEXT, client_frame, payload};
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
        ["run", case, milliseconds] => {
            let time = Duration::from_millis(milliseconds.parse().map_err(io::Error::other)?);
            let whos = JOBS.iter().filter(|(other, _)| *other == case);
            let turns: Option<Vec<(&str, Turn)>> = whos
                .map(|&(_, who)| Some((who, prepare(case, who)?)))
                .collect();
            let turns = turns.ok_or_else(|| io::Error::other("there is no such case"))?;
            let mut out = io::stdout().lock();
            clock(turns, time)
                .into_iter()
                .try_for_each(|(who, call)| writeln!(out, "{who}\t{}", call / units(case)))
        }
        _ => Err(io::Error::other(
            "usage: codec list, or codec run CASE MILLISECONDS",
        )),
    }
}

/// Does what is measured, so many times.
type Turn = Box<dyn FnMut(u32)>;

fn turn(mut call: impl FnMut() + 'static) -> Turn {
    Box::new(move |calls| {
        for _ in 0..calls {
            call();
        }
    })
}

fn prepare(case: &str, who: &str) -> Option<Turn> {
    match (case, who) {
        (MASK_LARGE, _) => Some(mask(who, 1 << 20)),
        (MASK_SMALL, _) => Some(mask(who, 4096)),
        (UTF8, OPENLINE) => Some(receive(TEXT, |event| matches!(event, Event::Text(_)))),
        (UTF8, SIMDUTF8) => Some(receive(BINARY, |event| match event {
            Event::Binary(bytes) => simdutf8::basic::from_utf8(bytes).is_ok(),
            _ => false,
        })),
        (DECODE_FRAME, _) => decode_frame(who),
        (ENCODE_FRAME, _) => encode_frame(who),
        (RECEIVE, _) => receive_messages(who),
        (SEND, _) => send_messages(who),
        _ => None,
    }
}

/// Of how many frames or messages the time of a call is told.
fn units(case: &str) -> f64 {
    match case {
        MASK_LARGE | MASK_SMALL | UTF8 => 1.0,
        _ => BATCH as f64,
    }
}

/// Nanoseconds of one call of each. They have short stretches in turns, for so long in all, and of a hundred stretches the tenth
/// fastest counts: whatever else the machine does makes some slower, and none faster.
fn clock(turns: Vec<(&str, Turn)>, time: Duration) -> Vec<(&str, f64)> {
    const STRETCH: Duration = Duration::from_micros(100);
    let mut clocks: Vec<(&str, Turn, u32, Vec<f64>)> = turns
        .into_iter()
        .map(|(who, mut turn)| {
            let mut calls = 1;
            while elapsed(&mut turn, calls) < STRETCH && calls < 1 << 20 {
                calls *= 2;
            }
            (who, turn, calls, Vec::new())
        })
        .collect();
    let begun = Instant::now();
    while begun.elapsed() < time || clocks.iter().any(|(.., stretches)| stretches.is_empty()) {
        for (_, turn, calls, stretches) in &mut clocks {
            // What another one left in the caches is cleared by the first call.
            turn(1);
            let stretch = elapsed(turn, *calls);
            stretches.push(stretch.as_nanos() as f64 / f64::from(*calls));
        }
    }
    clocks
        .into_iter()
        .map(|(who, _, _, mut stretches)| {
            stretches.sort_unstable_by(f64::total_cmp);
            (who, stretches[stretches.len() / 10])
        })
        .collect()
}

fn elapsed(turn: &mut Turn, calls: u32) -> Duration {
    let start = Instant::now();
    turn(calls);
    start.elapsed()
}

fn mask(who: &str, size: usize) -> Turn {
    let from = payload(size);
    let mut to = from.clone();
    if who == MEMCPY {
        turn(move || black_box(&mut to).copy_from_slice(black_box(&from)))
    } else {
        turn(move || openline_proto::mask(black_box(&mut to), black_box([1, 2, 3, 4]), 0))
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

fn receive(opcode: u8, mut is_right: impl FnMut(&Event<'_>) -> bool + 'static) -> Turn {
    let frame = client_frame(opcode, &mixed(64 * 1024));
    let now = Instant::now();
    let mut connection = Connection::server(Arc::new(Config::default()), now);
    let mut bytes = frame.clone();
    turn(move || {
        bytes.copy_from_slice(&frame);
        let event = connection.handle_input(now, &mut Input::new(&mut bytes));
        assert!(
            event.is_ok_and(|event| event.is_some_and(|event| is_right(&event))),
            "a message of its kind"
        );
    })
}

/// [`BATCH`] frames, payloads unmasked. The bytes are copied to where the codec wants them.
fn decode_frame(who: &str) -> Option<Turn> {
    let frames = client_frame(TEXT, &payload(SIZE)).repeat(BATCH);
    Some(match who {
        OPENLINE => {
            let mut bytes = frames.clone();
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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

/// [`BATCH`] frames, appended to one buffer.
fn encode_frame(who: &str) -> Option<Turn> {
    let shared = Bytes::from(payload(SIZE));
    let mut out = BytesMut::with_capacity(64 * 1024);
    Some(match who {
        OPENLINE => turn(move || {
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
            turn(move || {
                for _ in 0..BATCH {
                    let done = encoder.encode(yawc::Frame::text(shared.clone()), &mut out);
                    assert!(done.is_ok());
                }
                black_box(&out);
                out.clear();
            })
        }
        "sockudo-ws" => turn(move || {
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

/// [`BATCH`] messages of text, checked, from a stream or a buffer in memory.
fn receive_messages(who: &str) -> Option<Turn> {
    let frames = client_frame(TEXT, &payload(SIZE)).repeat(BATCH);
    Some(match who {
        OPENLINE => {
            let now = Instant::now();
            let mut connection = Connection::server(Arc::new(Config::default()), now);
            let mut bytes = frames.clone();
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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

/// [`BATCH`] messages of text, to a stream in memory, or as far as the bytes for one are at hand.
fn send_messages(who: &str) -> Option<Turn> {
    let text = String::from_utf8(payload(SIZE)).expect("a payload is text");
    let shared = Bytes::from(text.clone());
    Some(match who {
        OPENLINE => {
            let mut connection = Connection::server(Arc::new(Config::default()), Instant::now());
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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
            turn(move || {
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
