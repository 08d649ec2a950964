//! The opening handshake over HTTP/2 (RFC 8441), both sides, requirement by requirement.

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use openline_proto::Deflate;
use openline_proto::handshake::{
    ClientOptions, HandshakeError, OriginPolicy, Rejection, RequestError, ServerOptions,
    accept_connect, connect_request, verify_connect,
};

fn good() -> Request<()> {
    Request::connect("https://server.example.com/chat")
        .version(Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap()
}

fn with(name: &'static str, value: &str) -> Request<()> {
    let mut request = good();
    let value = HeaderValue::from_str(value).unwrap();
    request.headers_mut().append(name, value);
    request
}

fn rejected(request: &Request<()>) -> Rejection {
    accept_connect(request, Some("websocket"), &ServerOptions::default())
        .expect_err("an invalid request was accepted")
}

#[test]
fn server_answers_the_rfcs_example_with_200_and_none_of_the_upgrades_fields() {
    let mut request = with("sec-websocket-protocol", "chat, superchat");
    let headers = request.headers_mut();
    headers.insert(
        "sec-websocket-extensions",
        HeaderValue::from_static("permessage-deflate"),
    );
    headers.insert("origin", "https://server.example.com".parse().unwrap());
    let options = ServerOptions::default()
        .subprotocol("chat")
        .deflate(Some(Deflate::default().policy()));
    let accepted = accept_connect(&request, Some("websocket"), &options).unwrap();
    assert_eq!(accepted.response.status(), StatusCode::OK);
    assert_eq!(accepted.subprotocol.as_deref(), Some("chat"));
    assert!(accepted.deflate.is_some());
    let fields: Vec<_> = accepted.response.headers().keys().collect();
    assert_eq!(
        fields,
        ["sec-websocket-protocol", "sec-websocket-extensions"]
    );
}

#[test]
fn server_reads_the_protocol_in_any_case_and_no_other() {
    let accept = |protocol| accept_connect(&good(), protocol, &ServerOptions::default());
    for protocol in ["websocket", "WebSocket", "WEBSOCKET"] {
        assert!(accept(Some(protocol)).is_ok(), "{protocol}");
    }
    for protocol in [None, Some(""), Some("connect-udp"), Some("websocket2")] {
        let rejection = accept(protocol).unwrap_err();
        assert_eq!(rejection, Rejection::Protocol, "{protocol:?}");
        assert_eq!(rejection.status(), StatusCode::NOT_IMPLEMENTED);
    }
}

#[test]
fn server_asks_others_for_connect() {
    let mut request = good();
    *request.method_mut() = Method::GET;
    let response = rejected(&request).response();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "CONNECT");
    assert!(response.body().contains("RFC 8441"));

    let mut request = good();
    *request.version_mut() = Version::HTTP_11;
    assert_eq!(rejected(&request), Rejection::HttpVersion);
}

#[test]
fn server_tells_the_version_without_asking_for_an_upgrade() {
    let mut request = good();
    request.headers_mut().remove("sec-websocket-version");
    for request in [request, with("sec-websocket-version", "8")] {
        let response = rejected(&request).response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()["sec-websocket-version"], "13");
        assert!(!response.headers().contains_key("upgrade"));
    }
}

#[test]
fn server_does_not_look_at_a_key() {
    for key in ["", "nonsense", "dGhlIHNhbXBsZSBub25jZQ=="] {
        let request = with("sec-websocket-key", key);
        let accepted =
            accept_connect(&request, Some("websocket"), &ServerOptions::default()).unwrap();
        assert!(accepted.response.headers().is_empty());
    }
}

#[test]
fn server_refuses_what_is_said_of_a_connection_and_bodies() {
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
    ] {
        assert_eq!(rejected(&with(name, value)), Rejection::ConnectionField);
    }
    assert_eq!(rejected(&with("content-length", "5")), Rejection::Body);
}

#[test]
fn server_compares_the_origin_with_the_authority() {
    let accept = |request: &Request<()>, policy| {
        let options = ServerOptions::default().origins(policy);
        accept_connect(request, Some("websocket"), &options)
    };
    let foreign = with("origin", "https://evil.example");
    let rejection = accept(&foreign, OriginPolicy::SameOrigin).unwrap_err();
    assert_eq!(rejection.status(), StatusCode::FORBIDDEN);
    assert!(accept(&foreign, OriginPolicy::Any).is_ok());
    let page = with("origin", "https://server.example.com");
    assert!(accept(&page, OriginPolicy::SameOrigin).is_ok());
}

#[test]
fn attack_13_two_names_for_the_server_are_refused() {
    let same = with("host", "Server.example.com");
    assert!(accept_connect(&same, Some("websocket"), &ServerOptions::default()).is_ok());
    assert_eq!(rejected(&with("host", "evil.example")), Rejection::Host);
    let mut twice = with("host", "server.example.com");
    let value = HeaderValue::from_static("server.example.com");
    twice.headers_mut().append("host", value);
    assert_eq!(rejected(&twice), Rejection::Host);
}

#[test]
fn server_takes_host_where_there_is_no_authority() {
    let mut request = good();
    *request.uri_mut() = Uri::from_static("/chat");
    assert_eq!(rejected(&request), Rejection::Host);
    let host = HeaderValue::from_static("server.example.com");
    request.headers_mut().insert("host", host);
    let origin = HeaderValue::from_static("https://server.example.com");
    request.headers_mut().insert("origin", origin);
    assert!(accept_connect(&request, Some("websocket"), &ServerOptions::default()).is_ok());
}

#[test]
fn client_asks_as_in_the_rfcs_example() {
    let options = ClientOptions::default()
        .subprotocol("chat")
        .header(http::header::ORIGIN, "https://a.example".parse().unwrap());
    let uri = "wss://server.example.com:443/chat?a=b".parse().unwrap();
    let request = connect_request(&uri, &options).unwrap();
    assert_eq!(request.method(), Method::CONNECT);
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.uri(), "https://server.example.com/chat?a=b");
    let mut fields: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["origin", "sec-websocket-protocol", "sec-websocket-version"]
    );
    let plain = connect_request(
        &"ws://[::1]:8080?q".parse().unwrap(),
        &ClientOptions::default(),
    );
    assert_eq!(plain.unwrap().uri(), "http://[::1]:8080/?q");
}

#[test]
fn client_leaves_out_what_has_no_place_and_takes_a_host_as_the_authority() {
    let mut options = ClientOptions::default();
    for name in [
        "connection",
        "upgrade",
        "keep-alive",
        "te",
        "sec-websocket-key",
        "content-length",
    ] {
        options = options.header(name.parse().unwrap(), HeaderValue::from_static("x"));
    }
    let options = options.header(http::header::HOST, "virtual.example".parse().unwrap());
    let request = connect_request(&"ws://h/".parse().unwrap(), &options).unwrap();
    assert_eq!(request.uri(), "http://virtual.example/");
    assert_eq!(request.headers().len(), 1);
    let nonsense =
        ClientOptions::default().header(http::header::HOST, HeaderValue::from_static("a b"));
    assert!(matches!(
        connect_request(&"ws://h/".parse().unwrap(), &nonsense),
        Err(RequestError::Address(_))
    ));
    let twice = ClientOptions::default().subprotocol("a").subprotocol("a");
    assert!(matches!(
        connect_request(&"ws://h/".parse().unwrap(), &twice),
        Err(RequestError::Subprotocol(_))
    ));
}

fn verified(
    response: http::response::Builder,
    options: &ClientOptions,
) -> Result<openline_proto::handshake::Established, HandshakeError> {
    let response: Response<()> = response.version(Version::HTTP_2).body(()).unwrap();
    verify_connect(&response, options)
}

#[test]
fn client_takes_a_2xx_and_what_it_offered() {
    let options = ClientOptions::default()
        .subprotocol("chat")
        .deflate(Some(Deflate::default().offer()));
    let response = Response::builder()
        .header("sec-websocket-protocol", "chat")
        .header("sec-websocket-extensions", "permessage-deflate");
    let established = verified(response, &options).unwrap();
    assert_eq!(established.subprotocol.as_deref(), Some("chat"));
    assert!(established.deflate.is_some());
    assert!(verified(Response::builder().status(204), &options).is_ok());
}

#[test]
fn client_refuses_every_other_answer() {
    let none = ClientOptions::default();
    for status in [101, 301, 400, 403, 501] {
        let result = verified(Response::builder().status(status), &none);
        assert!(matches!(result, Err(HandshakeError::Status(s)) if s == status));
    }
    for (name, value, error) in [
        ("content-length", "0", HandshakeError::ConnectBody),
        ("content-length", "5", HandshakeError::ConnectBody),
        ("connection", "upgrade", HandshakeError::ConnectionField),
        ("upgrade", "websocket", HandshakeError::ConnectionField),
        (
            "sec-websocket-protocol",
            "chat",
            HandshakeError::Subprotocol,
        ),
        (
            "sec-websocket-extensions",
            "permessage-deflate",
            HandshakeError::Extension,
        ),
    ] {
        let response = Response::builder().header(name, value);
        assert_eq!(verified(response, &none), Err(error), "{name}: {value}");
    }
}
