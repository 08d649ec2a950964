//! The opening handshake, both sides: what is required, requirement by requirement.

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use openline_proto::handshake::{
    ClientOptions, HandshakeError, Key, OriginPolicy, Rejection, RequestError, ServerOptions,
    accept, request, verify,
};

const KEY: Key = Key::new(*b"the sample nonce");

fn good() -> Request<()> {
    Request::get("/chat")
        .header("host", "server.example.com")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap()
}

fn with(changes: &[(&'static str, Option<&str>)]) -> Request<()> {
    let mut request = good();
    for (name, value) in changes {
        match value {
            Some(value) => drop(
                request
                    .headers_mut()
                    .insert(*name, HeaderValue::from_str(value).unwrap()),
            ),
            None => drop(request.headers_mut().remove(*name)),
        }
    }
    request
}

fn rejected(request: &Request<()>) -> Rejection {
    accept(request, &ServerOptions::default()).expect_err("an invalid request was accepted")
}

#[test]
fn server_answers_the_rfcs_example() {
    let accepted = accept(&good(), &ServerOptions::default()).unwrap();
    let headers = accepted.response.headers();
    assert_eq!(accepted.response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "upgrade");
    assert_eq!(
        headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert!(
        !headers.contains_key("sec-websocket-protocol")
            && !headers.contains_key("sec-websocket-extensions")
    );
}

#[test]
fn server_reads_lists_and_any_case() {
    let request = with(&[
        ("connection", Some("keep-alive, UPGRADE")),
        ("upgrade", Some("h2c, WebSocket")),
    ]);
    assert!(accept(&request, &ServerOptions::default()).is_ok());
}

#[test]
fn server_rejects_what_is_no_websocket_request() {
    for change in [
        ("upgrade", None),
        ("upgrade", Some("h2c")),
        ("connection", None),
        ("connection", Some("close")),
    ] {
        let rejection = rejected(&with(&[change]));
        assert_eq!(rejection, Rejection::NotWebSocket);
        let response = rejection.response();
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_eq!(response.headers()["sec-websocket-version"], "13");
    }
}

#[test]
fn server_names_its_version_to_clients_of_another() {
    for version in [None, Some("8"), Some("14"), Some("013"), Some("13, 8")] {
        let rejection = rejected(&with(&[("sec-websocket-version", version)]));
        assert_eq!(rejection, Rejection::Version);
        assert_eq!(rejection.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(
            rejection.response().headers()["sec-websocket-version"],
            "13"
        );
    }
}

#[test]
fn server_wants_one_key_of_16_bytes() {
    for key in [
        None,
        Some(""),
        Some("c2hvcnQ="),
        Some("dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"),
        Some("!!!!!!!!!!!!!!!!!!!!!!=="),
    ] {
        assert_eq!(
            rejected(&with(&[("sec-websocket-key", key)])),
            Rejection::Key
        );
    }
    let mut twice = good();
    twice.headers_mut().append(
        "sec-websocket-key",
        HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
    );
    assert_eq!(rejected(&twice), Rejection::Key);
    assert_eq!(Rejection::Key.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn server_wants_get_http_1_1_and_one_host() {
    let mut request = good();
    *request.method_mut() = http::Method::POST;
    assert_eq!(rejected(&request), Rejection::Method);
    assert_eq!(Rejection::Method.response().headers()["allow"], "GET");
    let mut request = good();
    *request.version_mut() = http::Version::HTTP_10;
    assert_eq!(rejected(&request), Rejection::HttpVersion);
    assert_eq!(rejected(&with(&[("host", None)])), Rejection::Host);
    let mut request = good();
    request
        .headers_mut()
        .append("host", HeaderValue::from_static("other"));
    assert_eq!(rejected(&request), Rejection::Host);
}

#[test]
fn server_picks_the_subprotocol_that_it_prefers() {
    let options = ServerOptions::default().subprotocol("v2").subprotocol("v1");
    let chosen =
        |offer| accept(&with(&[("sec-websocket-protocol", Some(offer))]), &options).unwrap();
    assert_eq!(chosen("v1, v2").subprotocol.as_deref(), Some("v2"));
    assert_eq!(
        chosen("v1").response.headers()["sec-websocket-protocol"],
        "v1"
    );
    assert_eq!(chosen("V1, other").subprotocol, None);
    for wrong in ["v1, v1", "v 1", "v1;x"] {
        assert_eq!(
            rejected(&with(&[("sec-websocket-protocol", Some(wrong))])),
            Rejection::Subprotocol
        );
    }
}

#[test]
fn server_declines_extensions_but_not_bad_grammar() {
    let request = with(&[(
        "sec-websocket-extensions",
        Some("permessage-deflate; client_max_window_bits, foo"),
    )]);
    let accepted = accept(&request, &ServerOptions::default()).unwrap();
    assert!(
        !accepted
            .response
            .headers()
            .contains_key("sec-websocket-extensions")
    );
    let request = with(&[("sec-websocket-extensions", Some("permessage-deflate;;"))]);
    assert_eq!(rejected(&request), Rejection::Extensions);
}

#[test]
fn server_refuses_foreign_pages_by_default() {
    let foreign = with(&[("origin", Some("https://evil.example"))]);
    assert_eq!(rejected(&foreign), Rejection::Origin);
    assert_eq!(Rejection::Origin.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        rejected(&with(&[("origin", Some("null"))])),
        Rejection::Origin
    );
    assert!(
        accept(
            &with(&[("origin", Some("https://server.example.com"))]),
            &ServerOptions::default()
        )
        .is_ok()
    );
    let also = OriginPolicy::Also(vec!["https://evil.example".into()]);
    assert!(accept(&foreign, &ServerOptions::default().origins(also)).is_ok());
    let mut twice = good();
    for origin in ["https://server.example.com", "https://evil.example"] {
        twice
            .headers_mut()
            .append("origin", HeaderValue::from_static(origin));
    }
    assert_eq!(rejected(&twice), Rejection::Origin);
}

#[test]
fn client_makes_the_request_of_the_rfc() {
    let options = ClientOptions::default()
        .subprotocol("chat")
        .subprotocol("superchat");
    let request = request(
        &"ws://server.example.com/chat?x=1".parse().unwrap(),
        KEY,
        &options,
    )
    .unwrap();
    assert_eq!(request.uri(), "/chat?x=1");
    let headers = request.headers();
    assert_eq!(headers["host"], "server.example.com");
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "Upgrade");
    assert_eq!(headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(headers["sec-websocket-version"], "13");
    assert_eq!(headers["sec-websocket-protocol"], "chat, superchat");
    assert!(accept(&request, &ServerOptions::default()).is_ok());
}

#[test]
fn client_leaves_the_schemes_own_port_out() {
    let host = |uri: &str| {
        request(&uri.parse().unwrap(), KEY, &ClientOptions::default())
            .unwrap()
            .headers()["host"]
            .clone()
    };
    assert_eq!(host("ws://h:80/"), "h");
    assert_eq!(host("wss://h:443/"), "h");
    assert_eq!(host("ws://h:443"), "h:443");
    assert_eq!(host("ws://[::1]:9001?q"), "[::1]:9001");
    assert_eq!(host("ws://[::1]/"), "[::1]");
    assert_eq!(host("ws://h:/"), "h");
    assert_eq!(host("ws://user:1234567@h:9001/"), "h:9001");
}

#[test]
fn clients_own_fields_cannot_undo_the_handshake() {
    let options = ClientOptions::default()
        .header(
            HeaderName::from_static("authorization"),
            HeaderValue::from_static("Bearer t"),
        )
        .header(
            HeaderName::from_static("host"),
            HeaderValue::from_static("virtual.example"),
        )
        .header(
            HeaderName::from_static("sec-websocket-key"),
            HeaderValue::from_static("mine"),
        )
        .header(
            HeaderName::from_static("content-length"),
            HeaderValue::from_static("5"),
        )
        .header(
            HeaderName::from_static("transfer-encoding"),
            HeaderValue::from_static("chunked"),
        )
        .header(
            HeaderName::from_static("sec-websocket-extensions"),
            HeaderValue::from_static("permessage-deflate"),
        );
    let request = request(&"ws://h/".parse().unwrap(), KEY, &options).unwrap();
    assert_eq!(request.headers()["authorization"], "Bearer t");
    assert_eq!(
        request.headers()["sec-websocket-key"],
        "dGhlIHNhbXBsZSBub25jZQ=="
    );
    assert!(!request.headers().contains_key("sec-websocket-extensions"));
    assert_eq!(request.headers()["host"], "virtual.example");
    assert!(
        accept(&request, &ServerOptions::default()).is_ok(),
        "one Host field, and no body"
    );
}

#[test]
fn client_refuses_addresses_and_names_that_cannot_be() {
    for uri in [
        "http://h/",
        "/path",
        "h:80",
        "ws://h:99999/",
        "ws://h:port/",
        "wss://[::1]:65536/",
    ] {
        let error = request(&uri.parse().unwrap(), KEY, &ClientOptions::default()).unwrap_err();
        assert!(matches!(error, RequestError::Address(_)), "{uri}");
    }
    for names in [&["a b"][..], &["a", "a"], &[""], &["a\r\nevil: 1"]] {
        let options = names
            .iter()
            .fold(ClientOptions::default(), |o, name| o.subprotocol(*name));
        let error = request(&"ws://h/".parse().unwrap(), KEY, &options).unwrap_err();
        assert!(matches!(error, RequestError::Subprotocol(_)), "{names:?}");
    }
}

fn answer(changes: &[(&'static str, Option<&str>)]) -> Response<()> {
    let mut response = accept(&good(), &ServerOptions::default()).unwrap().response;
    for (name, value) in changes {
        match value {
            Some(value) => drop(
                response
                    .headers_mut()
                    .insert(*name, HeaderValue::from_str(value).unwrap()),
            ),
            None => drop(response.headers_mut().remove(*name)),
        }
    }
    response
}

#[test]
fn client_verifies_every_part_of_the_answer() {
    let options = ClientOptions::default().subprotocol("chat");
    let verdict = |changes: &[_]| verify(&answer(changes), KEY, &options);
    assert_eq!(verdict(&[]).unwrap().subprotocol, None);
    assert_eq!(
        verdict(&[("sec-websocket-protocol", Some("chat"))])
            .unwrap()
            .subprotocol
            .as_deref(),
        Some("chat")
    );
    // What peers reject that compare the whole value.
    assert!(verdict(&[("connection", Some("keep-alive, Upgrade"))]).is_ok());
    assert!(verdict(&[("upgrade", Some("WebSocket"))]).is_ok());
    for (change, error) in [
        (("upgrade", None), HandshakeError::Upgrade),
        (("upgrade", Some("h2c")), HandshakeError::Upgrade),
        (("connection", None), HandshakeError::Connection),
        (("connection", Some("close")), HandshakeError::Connection),
        (("sec-websocket-accept", None), HandshakeError::Accept),
        (
            ("sec-websocket-accept", Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")),
            HandshakeError::Accept,
        ),
        (
            ("sec-websocket-extensions", Some("permessage-deflate")),
            HandshakeError::Extension,
        ),
        (
            ("sec-websocket-protocol", Some("other")),
            HandshakeError::Subprotocol,
        ),
        (
            ("sec-websocket-protocol", Some("")),
            HandshakeError::Subprotocol,
        ),
        (("content-length", Some("10")), HandshakeError::Body),
        (("transfer-encoding", Some("chunked")), HandshakeError::Body),
    ] {
        assert_eq!(verdict(&[change]), Err(error), "{change:?}");
    }
    let mut refused = answer(&[]);
    *refused.status_mut() = StatusCode::FORBIDDEN;
    assert_eq!(
        verify(&refused, KEY, &options),
        Err(HandshakeError::Status(StatusCode::FORBIDDEN))
    );
}

#[test]
fn client_that_offers_nothing_accepts_no_subprotocol() {
    let response = answer(&[("sec-websocket-protocol", Some("chat"))]);
    assert_eq!(
        verify(&response, KEY, &ClientOptions::default()),
        Err(HandshakeError::Subprotocol)
    );
}
