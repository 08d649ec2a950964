//! `Sec-WebSocket-Protocol` and `Sec-WebSocket-Extensions`: parsers that took exponential time, threw, or believed.
//!
//! The values are of millions of bytes, as no head may be: a parser that is quadratic in them would not end today.

use http::HeaderValue;
use openline_proto::handshake::deflate::InvalidParameters;
use openline_proto::handshake::{
    ClientOptions, HandshakeError, Key, Rejection, ServerOptions, accept, verify,
};
use openline_proto::{Config, Deflate};

use super::handshake::{answer, asking};

const KEY: Key = Key::new(*b"the sample nonce");
const HUGE: usize = 4 << 20;

fn server() -> ServerOptions {
    let deflate = Deflate::default().policy();
    ServerOptions::default()
        .subprotocol("chat")
        .deflate(Some(deflate))
}

fn client() -> ClientOptions {
    let offer = Deflate::default().offer();
    ClientOptions::default()
        .subprotocol("chat")
        .deflate(Some(offer))
}

fn judge(name: &'static str, value: &[u8]) -> (Result<(), Rejection>, Result<(), HandshakeError>) {
    let asked = accept(&asking(&[(name, Some(value))]), &server()).map(|_| ());
    let answered = verify(&answer(&[(name, Some(value))]), KEY, &client()).map(|_| ());
    (asked, answered)
}

#[test]
fn attack_08_extensions_are_parsed_in_linear_time() {
    let escapes = format!("a; b=\"{}", "\\c".repeat(HUGE / 2));
    let spaces = format!("a; b={}", " ".repeat(HUGE));
    let gap = format!("a{}b", " ".repeat(HUGE));
    for wrong in [
        &escapes,
        &spaces,
        &gap,
        &";".repeat(HUGE),
        &"a;".repeat(HUGE / 2),
        &"a,".repeat(HUGE / 2),
    ] {
        let (asked, answered) = judge("sec-websocket-extensions", wrong.as_bytes());
        let start = &wrong[..20];
        assert_eq!(asked, Err(Rejection::Extensions), "{start}");
        assert_eq!(
            answered,
            Err(HandshakeError::MalformedExtensions),
            "{start}"
        );
    }
    // In the grammar, and nothing that is known.
    for (other, is_one) in [
        (",".repeat(HUGE), false),
        (" ".repeat(HUGE), false),
        ("a".repeat(HUGE), true),
    ] {
        let (asked, answered) = judge("sec-websocket-extensions", other.as_bytes());
        assert_eq!(asked, Ok(()));
        assert_eq!(answered.is_err(), is_one);
    }
}

#[test]
fn attack_08_subprotocols_are_parsed_in_linear_time() {
    let gap = format!("b{}x", " ".repeat(HUGE));
    let same = "a,".repeat(HUGE / 2);
    for wrong in [gap, same] {
        let (asked, answered) = judge("sec-websocket-protocol", wrong.as_bytes());
        assert_eq!(asked, Err(Rejection::Subprotocol));
        assert_eq!(answered, Err(HandshakeError::Subprotocol));
    }
    // Different ones, of which each would have to be compared with each.
    let many: String = (0..400_000).map(|n| format!("p{n},")).collect();
    assert_eq!(judge("sec-websocket-protocol", many.as_bytes()).0, Ok(()));
    // The other lists of the handshake.
    for name in ["connection", "upgrade"] {
        let (asked, answered) = judge(name, ",".repeat(HUGE).as_bytes());
        assert_eq!(asked, Err(Rejection::NotWebSocket));
        assert!(answered.is_err());
    }
}

/// Names that every object has in a peer's language, and a parser once called.
#[test]
fn attack_08_no_name_is_special() {
    for name in [
        "constructor",
        "__proto__",
        "toString",
        "hasOwnProperty",
        "length",
    ] {
        let (asked, answered) = judge("sec-websocket-extensions", name.as_bytes());
        assert_eq!((asked, answered), (Ok(()), Err(HandshakeError::Extension)));
        let parameter = format!("permessage-deflate; {name}");
        let accepted = asking(&[("sec-websocket-extensions", Some(parameter.as_bytes()))]);
        assert_eq!(accept(&accepted, &server()).unwrap().deflate, None);
        let (asked, answered) = judge("sec-websocket-protocol", name.as_bytes());
        assert_eq!(
            (asked, answered),
            (Ok(()), Err(HandshakeError::Subprotocol))
        );
    }
}

#[test]
fn attack_08_what_stands_twice_is_not_taken() {
    let twice = b"permessage-deflate; server_no_context_takeover; server_no_context_takeover";
    let asked = asking(&[("sec-websocket-extensions", Some(twice))]);
    assert_eq!(accept(&asked, &server()).unwrap().deflate, None);
    let (_, answered) = judge("sec-websocket-extensions", twice);
    assert_eq!(answered, Err(HandshakeError::Deflate(InvalidParameters)));
    // Two answers to one offer, in one line and in two.
    let both = b"permessage-deflate, permessage-deflate";
    assert_eq!(
        judge("sec-websocket-extensions", both).1,
        Err(HandshakeError::Extension)
    );
    let mut lines = answer(&[("sec-websocket-extensions", Some(b"permessage-deflate"))]);
    let again = HeaderValue::from_static("permessage-deflate");
    lines
        .headers_mut()
        .append("sec-websocket-extensions", again);
    assert_eq!(
        verify(&lines, KEY, &client()),
        Err(HandshakeError::Extension)
    );
    // Two offers are a choice, of which the first that can be taken is.
    let offers = b"permessage-deflate; unknown, permessage-deflate";
    let asked = asking(&[("sec-websocket-extensions", Some(offers))]);
    assert!(accept(&asked, &server()).unwrap().deflate.is_some());
}

const OUT_OF_RANGE: [&str; 12] = [
    "0",
    "1",
    "7",
    "16",
    "255",
    "256",
    "-8",
    "+8",
    "08",
    "8.0",
    "99999999999999999999999",
    "\"\"",
];

/// A client threw at what a server said, and its process ended.
#[test]
fn attack_10_window_bits_out_of_range_fail_the_handshake_client() {
    for name in ["server_max_window_bits", "client_max_window_bits"] {
        for bits in OUT_OF_RANGE {
            let said = format!("permessage-deflate; {name}={bits}");
            let (_, answered) = judge("sec-websocket-extensions", said.as_bytes());
            let refused = matches!(
                answered,
                Err(HandshakeError::Deflate(_) | HandshakeError::MalformedExtensions)
            );
            assert!(refused, "{said}: {answered:?}");
        }
    }
    let (_, answered) = judge(
        "sec-websocket-extensions",
        b"permessage-deflate; server_max_window_bits",
    );
    assert_eq!(answered, Err(HandshakeError::Deflate(InvalidParameters)));
}

/// An offer that makes no sense is declined (RFC 7692 §7.1), or breaks the grammar.
#[test]
fn attack_10_window_bits_out_of_range_are_not_granted_server() {
    for name in ["server_max_window_bits", "client_max_window_bits"] {
        for bits in OUT_OF_RANGE {
            let said = format!("permessage-deflate; {name}={bits}");
            let asked = asking(&[("sec-websocket-extensions", Some(said.as_bytes()))]);
            match accept(&asked, &server()) {
                Ok(accepted) => assert_eq!(accepted.deflate, None, "{said}"),
                Err(rejection) => assert_eq!(rejection, Rejection::Extensions, "{said}"),
            }
        }
    }
}

/// Nothing is compressed that nobody asked to have compressed: not by an offer, not by a grant.
#[test]
fn attack_28_compression_is_off_unless_asked_for() {
    assert_eq!(Config::default().deflate_settings(), None);
    let offer = asking(&[("sec-websocket-extensions", Some(b"permessage-deflate"))]);
    let accepted = accept(&offer, &ServerOptions::default()).unwrap();
    assert_eq!(accepted.deflate, None);
    assert!(
        !accepted
            .response
            .headers()
            .contains_key("sec-websocket-extensions")
    );
    assert!(
        !asking(&[])
            .headers()
            .contains_key("sec-websocket-extensions")
    );
    let forced = answer(&[("sec-websocket-extensions", Some(b"permessage-deflate"))]);
    let answered = verify(&forced, KEY, &ClientOptions::default());
    assert_eq!(answered, Err(HandshakeError::Extension));
}
