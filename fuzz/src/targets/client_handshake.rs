//! The client's side of the opening handshake: requests made of anything, and answers in pieces, judged.
//!
//! A request that can be made is one head, and a server accepts it. An honest answer is taken, and both ends then mean the
//! same; of any other, what is taken must be right to a reader that knows only lines, and grant nothing that was not asked.

use http::header::{HeaderName, HeaderValue};
use openline_proto::handshake::{
    ClientOptions, Key, OriginPolicy, ServerOptions, accept, request, verify, write_request,
    write_response,
};
use openline_proto::{Config, Deflate};

use crate::choices::{Choices, Cuts};
use crate::heads::{self, Lines};
use crate::pair::deflate_settings;

/// That of RFC 6455 §1.3, so that a seed can hold the right answer.
const NONCE: &[u8; 16] = b"the sample nonce";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Tries one input: what is asked for, then one of: an answer, an honest answer that is tampered with, an address and fields.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mode = choices.byte();
    let settings = deflate_settings(&mut choices);
    let offer = settings.as_ref().map(Deflate::offer);
    let mut asked = ClientOptions::default().deflate(offer);
    if mode & 0x10 != 0 {
        asked = asked.subprotocol("chat").subprotocol("superchat");
    }
    match mode & 3 {
        0 | 1 => {
            let cuts = choices.cuts();
            answer(
                &asked,
                mode & 0x10 != 0,
                offer.is_some(),
                choices.rest(),
                cuts,
            );
        }
        2 => {
            let honest = honest_answer(&mut choices, &asked);
            let cuts = choices.cuts();
            let tampered = tamper(honest, &mut choices);
            answer(&asked, mode & 0x10 != 0, offer.is_some(), &tampered, cuts);
        }
        _ => ask(&mut choices, asked),
    }
}

/// Judges an answer.
fn answer(asked: &ClientOptions, subprotocols: bool, deflate: bool, bytes: &[u8], cuts: Cuts) {
    let config = Config::default();
    let whole = heads::response(&config, bytes, Cuts::NONE);
    let cut = heads::response(&config, bytes, cuts);
    let (response, read) = match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole.1, cut.1);
            whole
        }
        (whole, cut) => {
            assert_eq!(whole.map(|whole| whole.1), cut.map(|cut| cut.1));
            return;
        }
    };
    let lines = Lines::of(&bytes[..bytes.len() - read.rest.len()]);
    assert_eq!(
        lines.count(),
        response.headers().len(),
        "no field is lost: {lines:?}"
    );
    let Ok(established) = verify(&response, Key::new(*NONCE), asked) else {
        return;
    };
    assert_eq!(response.status(), 101);
    assert_eq!(lines.one("sec-websocket-accept"), ACCEPT);
    assert!(lines.mention("connection", "upgrade") && lines.mention("upgrade", "websocket"));
    lines.announce_no_body();
    match &established.subprotocol {
        Some(chosen) => {
            assert!(subprotocols && ["chat", "superchat"].contains(&chosen.as_str()));
            assert_eq!(lines.one("sec-websocket-protocol"), chosen.as_bytes());
        }
        None => assert_eq!(lines.values("sec-websocket-protocol").count(), 0),
    }
    assert_eq!(
        established.deflate.is_some(),
        lines.mention("sec-websocket-extensions", "permessage-deflate")
    );
    assert!(
        established.deflate.is_none() || deflate,
        "it was not offered"
    );
}

/// What a server answers, as bytes; the client must take it.
fn honest_answer(choices: &mut Choices<'_>, asked: &ClientOptions) -> Vec<u8> {
    let flags = choices.byte();
    let mut options = ServerOptions::default()
        .deflate(deflate_settings(choices).map(|settings| settings.policy()));
    if flags & 1 != 0 {
        options = options.subprotocol("superchat");
    }
    let uri = http::Uri::from_static("wss://example.org/chat");
    let asking = request(&uri, Key::new(*NONCE), asked).expect("the address is right");
    let accepted = accept(&asking, &options).expect("a client's request is right");
    let established =
        verify(&accepted.response, Key::new(*NONCE), asked).expect("a server's answer is right");
    assert_eq!(established.deflate, accepted.deflate);
    assert_eq!(established.subprotocol, accepted.subprotocol);
    let mut bytes = Vec::new();
    write_response(&accepted.response, &mut bytes);
    bytes
}

/// Changes some bytes, by the fuzzer's choice.
fn tamper(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    while !choices.is_empty() {
        let at = usize::from(choices.byte()) % (bytes.len() + 1);
        let removed = usize::from(choices.byte()) % 32;
        let inserted = usize::from(choices.byte()) % 128;
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, choices.bytes(inserted).iter().copied());
    }
    bytes
}

/// Makes a request, which a server must accept.
fn ask(choices: &mut Choices<'_>, mut asked: ClientOptions) {
    const NAMES: [&str; 9] = [
        "origin",
        "cookie",
        "x-any",
        "connection",
        "upgrade",
        "sec-websocket-key",
        "content-length",
        "transfer-encoding",
        "sec-websocket-extensions",
    ];
    let count = choices.byte() % 4;
    for _ in 0..count {
        let name = HeaderName::from_static(choices.pick(&NAMES));
        let length = usize::from(choices.byte()) % 64;
        if let Ok(value) = HeaderValue::from_bytes(choices.bytes(length).trim_ascii()) {
            asked = asked.header(name, value);
        }
    }
    let length = usize::from(choices.byte()) % 16;
    if length > 0 {
        asked = asked.subprotocol(String::from_utf8_lossy(choices.bytes(length)));
    }
    let Ok(uri) = http::Uri::try_from(choices.rest()) else {
        return;
    };
    let Ok(made) = request(&uri, Key::new(*NONCE), &asked) else {
        return;
    };
    let mut bytes = Vec::new();
    write_request(&made, &mut bytes);
    // An honest address is no longer than a head may be.
    let config = Config::default().max_head(1 << 20);
    let (read, as_read) =
        heads::request(&config, &bytes, Cuts::NONE).expect("what is written is read");
    assert!(as_read.rest.is_empty(), "one request is one head");
    assert_eq!((read.uri(), read.headers()), (made.uri(), made.headers()));
    let lines = Lines::of(&bytes);
    lines.one("host");
    lines.one("connection");
    lines.one("sec-websocket-key");
    lines.announce_no_body();
    if lines.values("origin").count() <= 1 {
        let options = ServerOptions::default().origins(OriginPolicy::Any);
        if let Err(rejection) = accept(&read, &options) {
            // `Any` still wants an origin to be text.
            assert_eq!(
                rejection.status(),
                403,
                "a request of ours is refused: {rejection}"
            );
            assert!(!lines.one("origin").is_ascii());
        }
    }
}

/// Answers that are taken, and requests.
pub fn seeds() -> Vec<Vec<u8>> {
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let mut seeds = Vec::new();
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"9\"\r\n";
    for extra in [
        "",
        "Sec-WebSocket-Protocol: chat\r\n",
        deflate,
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        for options in [
            &[0u8, 0, 0][..],
            &[0x10, 1, 5, 2, 3, 1],
            &[0x11, 0x19, 0x65, 1, 30],
        ] {
            seeds.push([options, ANSWER.as_bytes(), extra.as_bytes(), b"\r\n\x81\0"].concat());
        }
    }
    // In single bytes, so that the end of the head straddles every cut.
    seeds.push(b"\0\0\x01\x01HTTP/1.1 101 X\r\nA: b\r\n\r\n\x81".to_vec());
    for flags in 0..8 {
        seeds.push(vec![
            0x12,
            flags << 1 | 1,
            flags << 4,
            1,
            9,
            flags,
            0,
            flags & 3,
            17,
        ]);
        seeds.push(vec![2, 0, 0, 0, 0, flags * 11, 3, 2, b'\r', b'\n']);
    }
    for uri in [
        "ws://example.org",
        "wss://u:p@[::1]:8443/a?b=c",
        "ws://h?q",
        "ws://h:80/",
        "http://h/",
        "ws://h:99999/",
    ] {
        seeds.push([&[3, 0, 0, 0][..], uri.as_bytes()].concat());
        seeds.push(
            [
                b"\x13\x01\x02\x02\x00\x05a:\r\nb\x01\x03a=b\x02ab".as_slice(),
                uri.as_bytes(),
            ]
            .concat(),
        );
    }
    seeds.push([b"\x03\0\x01\x05\x03abc\0".as_slice(), b"ws://h/"].concat());
    seeds
}
