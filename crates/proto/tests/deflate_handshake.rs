//! permessage-deflate in the opening handshake (RFC 7692 §7.1): what settings offer and grant, and answers of every kind.

use http::{HeaderValue, Request, Response};
use openline_proto::handshake::deflate::{Agreed, InvalidParameters};
use openline_proto::handshake::{
    ClientOptions, HandshakeError, Key, ServerOptions, accept, request, verify,
};
use openline_proto::{Deflate, Takeover};

const EXTENSIONS: &str = "sec-websocket-extensions";

fn client(deflate: Deflate) -> ClientOptions {
    ClientOptions::default().deflate(Some(deflate.offer()))
}

fn opening(options: &ClientOptions) -> Request<()> {
    let uri = "ws://example.org/".parse().unwrap();
    request(&uri, Key::new([7; 16]), options).unwrap()
}

fn offered(deflate: Deflate) -> String {
    let request = opening(&client(deflate));
    request.headers()[EXTENSIONS].to_str().unwrap().to_owned()
}

/// The server's answer to lines of offers.
fn answer(server: Option<Deflate>, offers: &[&str]) -> (Response<()>, Option<Agreed>) {
    let mut request = opening(&ClientOptions::default());
    for offer in offers {
        let offer = HeaderValue::from_str(offer).unwrap();
        request.headers_mut().append(EXTENSIONS, offer);
    }
    let options = ServerOptions::default().deflate(server.map(|d| d.policy()));
    let accepted = accept(&request, &options).unwrap();
    (accepted.response, accepted.deflate)
}

fn granted(server: Deflate, offers: &[&str]) -> Option<String> {
    let (response, agreed) = answer(Some(server), offers);
    let line = response.headers().get(EXTENSIONS);
    assert_eq!(line.is_some(), agreed.is_some());
    line.map(|line| line.to_str().unwrap().to_owned())
}

/// What a client makes of these lines in the answer.
fn judged(client: &ClientOptions, lines: &[&str]) -> Result<Option<Agreed>, HandshakeError> {
    let (mut response, _) = answer(None, &[]);
    for line in lines {
        let line = HeaderValue::from_str(line).unwrap();
        response.headers_mut().append(EXTENSIONS, line);
    }
    verify(&response, Key::new([7; 16]), client).map(|established| established.deflate)
}

#[test]
fn a_client_offers_what_its_settings_say() {
    let default = Deflate::default();
    for (settings, offer) in [
        (default, "permessage-deflate; client_max_window_bits"),
        (
            default.takeover(Takeover::Never),
            "permessage-deflate; client_no_context_takeover; client_max_window_bits",
        ),
        (
            default
                .server_no_context_takeover(true)
                .server_max_window_bits(8)
                .client_max_window_bits(10),
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=8; client_max_window_bits=10",
        ),
        (
            default
                .server_max_window_bits(0)
                .client_max_window_bits(200),
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits",
        ),
    ] {
        assert_eq!(offered(settings), offer);
    }
    let nothing = opening(&ClientOptions::default());
    assert!(!nothing.headers().contains_key(EXTENSIONS));
}

#[test]
fn a_server_grants_lowers_and_declines() {
    let default = Deflate::default();
    let narrow = default.server_max_window_bits(11).client_max_window_bits(9);
    for (settings, offers, grant) in [
        (
            default,
            &["permessage-deflate"][..],
            Some("permessage-deflate"),
        ),
        (
            default,
            &["foo, permessage-deflate", "bar"],
            Some("permessage-deflate"),
        ),
        (default, &["foo"], None),
        (default, &[], None),
        (
            default,
            &["permessage-deflate; client_max_window_bits"],
            Some("permessage-deflate"),
        ),
        (
            default,
            &["permessage-deflate; server_max_window_bits=\"10\"; server_no_context_takeover"],
            Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
        ),
        (
            default.takeover(Takeover::Never),
            &["permessage-deflate"],
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (
            narrow,
            &["permessage-deflate; server_max_window_bits=12; client_max_window_bits"],
            Some("permessage-deflate; server_max_window_bits=11; client_max_window_bits=9"),
        ),
        // The first offer has a client that can't lower its window; the second can be taken.
        (
            narrow,
            &[
                "permessage-deflate",
                "permessage-deflate; client_max_window_bits=8",
            ],
            Some("permessage-deflate; server_max_window_bits=11; client_max_window_bits=8"),
        ),
        (narrow, &["permessage-deflate"], None),
        // What an offer says of the server's window is repeated, even if it is the default.
        (
            default,
            &["permessage-deflate; server_max_window_bits=15; client_max_window_bits=15"],
            Some("permessage-deflate; server_max_window_bits=15"),
        ),
        // What is not valid is declined, never an error: the next offer may do.
        (
            default,
            &["permessage-deflate; server_max_window_bits=16"],
            None,
        ),
        (
            default,
            &["permessage-deflate; client_max_window_bits=7, permessage-deflate"],
            Some("permessage-deflate"),
        ),
        (default, &["permessage-deflate; mystery"], None),
    ] {
        assert_eq!(granted(settings, offers).as_deref(), grant, "{offers:?}");
    }
    assert_eq!(answer(None, &["permessage-deflate"]).1, None);
}

#[test]
fn a_client_takes_an_answer_that_fits_its_offer() {
    let agreed = |client: Deflate, line: &str| {
        let agreed = judged(&self::client(client), &[line]).unwrap().unwrap();
        agreed.to_string()
    };
    let default = Deflate::default();
    for line in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
    ] {
        assert_eq!(agreed(default, line), line);
    }
    // The client's own wishes for what it sends hold, whatever the server repeats of them.
    assert_eq!(
        agreed(
            default
                .client_max_window_bits(9)
                .client_no_context_takeover(true),
            "permessage-deflate"
        ),
        "permessage-deflate; client_no_context_takeover; client_max_window_bits=9"
    );
    assert_eq!(judged(&client(default), &[]), Ok(None));
}

/// Attack 10: a window out of range is an error of the handshake, not of the program.
#[test]
fn a_client_fails_on_an_answer_that_does_not() {
    let asks = Deflate::default()
        .server_max_window_bits(10)
        .server_no_context_takeover(true);
    let good = "permessage-deflate; server_max_window_bits=10; server_no_context_takeover";
    assert!(judged(&client(asks), &[good]).is_ok());
    let invalid = HandshakeError::Deflate(InvalidParameters);
    for parameters in [
        "",
        "; server_no_context_takeover",
        "; server_max_window_bits=10",
        "; server_max_window_bits=11; server_no_context_takeover",
    ] {
        let line = format!("permessage-deflate{parameters}");
        assert_eq!(
            judged(&client(asks), &[&line]),
            Err(invalid.clone()),
            "{line}"
        );
    }
    let default = client(Deflate::default());
    for parameters in [
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=1000000000000",
        "server_max_window_bits=-9",
        "server_max_window_bits=08",
        "server_max_window_bits=9; server_max_window_bits=9",
        "client_max_window_bits",
        "client_max_window_bits=16",
        "client_no_context_takeover=1",
        "mystery",
    ] {
        let line = format!("permessage-deflate; {parameters}");
        assert_eq!(judged(&default, &[&line]), Err(invalid.clone()), "{line}");
    }
    // Another extension, one more, the same twice, one that was not offered, and what fits no grammar.
    for lines in [
        &["x-webkit-deflate-frame"][..],
        &["permessage-deflate, foo"],
        &["permessage-deflate", "permessage-deflate"],
    ] {
        assert_eq!(
            judged(&default, lines),
            Err(HandshakeError::Extension),
            "{lines:?}"
        );
    }
    let offers_nothing = ClientOptions::default();
    assert_eq!(
        judged(&offers_nothing, &["permessage-deflate"]),
        Err(HandshakeError::Extension)
    );
    assert_eq!(
        judged(&default, &["permessage-deflate;;"]),
        Err(HandshakeError::MalformedExtensions)
    );
}
