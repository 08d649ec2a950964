//! The server's side of the opening handshake: a request's head in pieces, judged and answered.
//!
//! How it is cut must not matter. What is accepted must be acceptable to a reader that knows only lines, so that no proxy on
//! the way sees another request than we do; and the answer must be one head that reads back as it was.

use openline_proto::Config;
use openline_proto::handshake::{OriginPolicy, ServerOptions, accept, write_response};

use crate::choices::{Choices, Cuts};
use crate::heads::{self, Lines};
use crate::pair::deflate_settings;

/// Tries one input: limits, options, cuts, then the bytes that come.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let flags = choices.byte();
    let config = Config::default().max_head([16 << 10, 64, 300, 1000][usize::from(flags & 3)]);
    let mut options = ServerOptions::default()
        .origins(match flags >> 2 & 3 {
            0 => OriginPolicy::SameOrigin,
            1 => OriginPolicy::Also(vec!["https://app.example.org".into()]),
            _ => OriginPolicy::Any,
        })
        .deflate(deflate_settings(&mut choices).map(|settings| settings.policy()));
    if flags & 0x10 != 0 {
        options = options.subprotocol("superchat").subprotocol("chat");
    }
    let cuts = choices.cuts();
    let bytes = choices.rest();

    let whole = heads::request(&config, bytes, Cuts::NONE);
    let cut = heads::request(&config, bytes, cuts);
    let (request, read) = match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole.1, cut.1);
            whole
        }
        (whole, cut) => {
            let (whole, cut) = (whole.map(|whole| whole.1), cut.map(|cut| cut.1));
            assert_eq!(whole, cut);
            assert!(whole.expect_err("both failed").status().is_client_error());
            return;
        }
    };
    let head = &bytes[..bytes.len() - read.rest.len()];
    assert!(head.len() <= config.limits().max_head && head.ends_with(b"\r\n\r\n"));
    let lines = Lines::of(head);
    assert_eq!(
        lines.count(),
        request.headers().len(),
        "no field is lost: {lines:?}"
    );

    match accept(&request, &options) {
        Ok(accepted) => {
            assert!(head.trim_ascii_start().starts_with(b"GET "));
            assert!(!lines.one("host").is_empty() || request.headers()["host"].is_empty());
            assert_eq!(lines.one("sec-websocket-version"), b"13");
            assert_eq!(lines.one("sec-websocket-key").len(), 24);
            assert!(
                lines.mention("connection", "upgrade") && lines.mention("upgrade", "websocket")
            );
            lines.announce_no_body();
            if lines.values("origin").count() > 0 && flags >> 2 & 3 == 0 {
                let origin = String::from_utf8_lossy(lines.one("origin")).to_ascii_lowercase();
                let host = String::from_utf8_lossy(lines.one("host")).to_ascii_lowercase();
                let (name, _) = host
                    .rsplit_once(':')
                    .filter(|(_, port)| !port.ends_with(']'))
                    .unwrap_or((&host, ""));
                assert!(origin.contains(name), "{origin} is not of {host}");
            }
            if let Some(chosen) = &accepted.subprotocol {
                assert!(flags & 0x10 != 0 && lines.mention("sec-websocket-protocol", chosen));
            }
            if accepted.deflate.is_some() {
                assert!(lines.mention("sec-websocket-extensions", "permessage-deflate"));
            }
            check_answer(&accepted.response);
            assert_eq!(accepted.response.status(), 101);
        }
        Err(rejection) => {
            assert!(rejection.status().is_client_error());
            check_answer(&rejection.response());
        }
    }
}

/// What is written is one head, with the fields that it was to have.
fn check_answer<B>(response: &http::Response<B>) {
    let mut bytes = Vec::new();
    write_response(response, &mut bytes);
    let (back, read) =
        heads::response(&Config::default(), &bytes, Cuts::NONE).expect("what is written is read");
    assert_eq!(
        (back.status(), back.headers()),
        (response.status(), response.headers())
    );
    assert!(read.rest.is_empty(), "one answer is one head");
}

/// Requests that are accepted, and some that are not.
pub fn seeds() -> Vec<Vec<u8>> {
    const REQUEST: &str = "GET /chat?x HTTP/1.1\r\nHost: example.org:80\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let extras = [
        "",
        "Origin: http://example.org\r\nSec-WebSocket-Protocol: chat, superchat\r\n",
        "Origin: https://app.example.org\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=10\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 7\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: twice\r\n",
        "A: b\n\nSMUGGLED: c\r\n",
        "X: \u{e9}\r\n",
    ];
    let mut seeds = Vec::new();
    for extra in extras {
        for options in [
            &[0u8, 0, 0][..],
            &[0x14, 1, 0, 2, 3, 1],
            &[0x18, 0x7f, 0x35, 1, 40],
            &[2, 0, 1, 100],
        ] {
            seeds.push(
                [
                    options,
                    REQUEST.as_bytes(),
                    extra.as_bytes(),
                    b"\r\n",
                    b"\x81\x85\x37",
                ]
                .concat(),
            );
        }
    }
    // In single bytes, so that the end of the head straddles every cut.
    seeds.push(b"\0\0\x01\x01GET / HTTP/1.1\r\nHost: x\r\n\r\n\x81".to_vec());
    for other in [
        "POST / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        seeds.push([b"\0\0\0", other.as_bytes()].concat());
    }
    seeds
}
