//! Requests and answers that open no WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::{ALLOW, HeaderValue, LOCATION, ORIGIN};
use http::{Method, Response, StatusCode};
use openline::http2::{Code, Http2Error, Settings};
use openline::{Client, Config, Error, HandshakeError, RedirectError, Server, Timeout};

use crate::{client, echoes, http2, peers, start};

#[tokio::test]
async fn the_protocol_is_compared_without_case_and_others_are_not_implemented() {
    let server = start(http2()).await;
    let address = server.address();
    let requests = peers::connect(address).await;
    for (protocol, status) in [
        (Some("websocket"), 200),
        (Some("WebSocket"), 200),
        (Some("connect-udp"), 501),
        (None, 501),
    ] {
        let request = peers::request(address, "/", protocol);
        let (response, _) = peers::ask(&requests, request).await;
        assert_eq!(response.status(), status, "{protocol:?}");
    }
}

#[tokio::test]
async fn other_requests_are_told_what_to_send() {
    let server = start(http2()).await;
    let address = server.address();
    let requests = peers::connect(address).await;
    let mut get = peers::request(address, "/", Some("x"));
    *get.method_mut() = Method::GET;
    get.extensions_mut().clear();
    let (response, _) = peers::ask(&requests, get).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "CONNECT");
    let body = response.into_body().data().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&body).contains("extended CONNECT"));

    let mut old = peers::request(address, "/", Some("websocket"));
    let version = HeaderValue::from_static("8");
    old.headers_mut().insert("sec-websocket-version", version);
    let (response, _) = peers::ask(&requests, old).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
}

#[tokio::test]
async fn a_foreign_page_is_refused_with_a_reason_and_its_own_is_not() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let from = |origin: &str| {
        let origin = HeaderValue::from_str(origin).unwrap();
        server.client("").header(ORIGIN, origin)
    };
    let refused = connection.open(from("http://evil.example")).await;
    let Err(Error::Handshake { error, response }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error, HandshakeError::Status(StatusCode::FORBIDDEN));
    assert!(String::from_utf8_lossy(response.body()).contains("Origin"));
    let own = from(server.url.replace("ws:", "http:").trim_end_matches('/'));
    let (mut ws, _) = connection.open(own).await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn a_check_refuses_a_stream_by_an_answer_of_its_own() {
    let server = start(http2().check(|request| {
        (request.uri().path() == "/secret").then(|| {
            let response = Response::builder()
                .status(401)
                .header("connection", "close");
            response.body("no".to_owned()).unwrap()
        })
    }))
    .await;
    let connection = server.connect().await;
    let refused = connection.open(server.client("secret")).await.unwrap_err();
    let response = refused.response().unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(&response.body()[..], b"no");
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn streams_count_as_connections_and_those_past_the_limit_are_told_when_to_come_back() {
    let server = http2()
        .max_connections(2)
        .retry_after(Duration::from_secs(7));
    let server = start(server).await;
    let connection = server.connect().await;
    let (mut one, _) = connection.open(server.client("")).await.unwrap();
    let (two, _) = connection.open(server.client("")).await.unwrap();
    let error = connection.open(server.client("")).await.unwrap_err();
    assert_eq!(error.response().unwrap().status(), 503);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert!(error.is_transient());
    let error = server.client("").connect().await.unwrap_err();
    assert_eq!(error.response().unwrap().status(), 503);

    let mut two = two;
    two.close(openline::CloseCode::NORMAL, "").await.unwrap();
    // Its handler may need a moment more than its close.
    let mut third = loop {
        match connection.open(server.client("")).await {
            Ok((ws, _)) => break ws,
            Err(error) => assert_eq!(error.response().unwrap().status(), 503),
        }
    };
    echoes(&mut third, "hello").await;
    echoes(&mut one, "hello").await;
}

#[tokio::test]
async fn past_the_servers_limit_of_streams_a_client_waits_for_its_turn() {
    let server = start(Server::default().http2(Settings::default().max_streams(2))).await;
    let connection = server.connect().await;
    let (mut one, _) = connection.open(server.client("")).await.unwrap();
    let (_two, _) = connection.open(server.client("")).await.unwrap();
    let hasty = Config::default().handshake_timeout(Duration::from_millis(50));
    let third = connection.open(server.client("").config(hasty)).await;
    assert!(matches!(third, Err(Error::Timeout(Timeout::Handshake))));
    let (third, closed) = tokio::join!(
        connection.open(server.client("")),
        one.close(openline::CloseCode::NORMAL, "")
    );
    closed.unwrap();
    echoes(&mut third.unwrap().0, "hello").await;
}

#[tokio::test]
async fn a_server_without_extended_connect_is_told_from_others() {
    let url = peers::serve(h2::server::Builder::new(), |mut connection| async move {
        while connection.accept().await.is_some() {}
    })
    .await;
    let error = client(&url, "").connect_http2().await.unwrap_err();
    assert!(matches!(error, Error::Http2(Http2Error::NoExtendedConnect)));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_refused_stream_may_be_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let url = peers::answering(move |_, mut respond| {
        let tries = Arc::clone(&tries);
        async move {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from_static(b"\x81\x02hi"), false)
                .unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert!(matches!(error, Error::Http2(Http2Error::Refused)));
    assert!(error.is_transient());
    let (mut ws, _) = connection.open(client(&url, "")).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hi"));
}

#[tokio::test]
async fn a_reset_instead_of_an_answer_is_told_with_its_code() {
    let url = peers::answering(|_, mut respond| async move {
        respond.send_reset(Reason::INADEQUATE_SECURITY);
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert!(matches!(error, Error::Http2(Http2Error::Reset(Code(12)))));
    assert!(error.to_string().contains("INADEQUATE_SECURITY"));
}

#[tokio::test]
async fn after_goaway_no_more_are_opened_and_those_that_are_go_on() {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let url = peers::serve(builder, |mut connection| async move {
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        connection.graceful_shutdown();
        send.send_data(Bytes::from_static(b"\x81\x02hi"), false)
            .unwrap();
        while connection.accept().await.is_some() {}
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let (mut ws, _) = connection.open(client(&url, "")).await.unwrap();
    // It comes behind the GOAWAY.
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hi"));
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert!(matches!(error, Error::Http2(Http2Error::GoAway(Code(0)))));
    assert!(error.is_transient());
    ws.send("still open").await.unwrap();
}

#[tokio::test]
async fn a_silent_server_runs_into_the_deadline() {
    let url = peers::answering(|request, respond| async move {
        let _kept = (request, respond);
        std::future::pending::<()>().await;
    })
    .await;
    let config = Config::default().handshake_timeout(Duration::from_millis(50));
    let connection = client(&url, "").connect_http2().await.unwrap();
    let failed = connection
        .open(client(&url, "").config(config.clone()))
        .await;
    assert!(matches!(failed, Err(Error::Timeout(Timeout::Handshake))));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let failed = client(&url, "").config(config).connect_http2().await;
    assert!(matches!(failed, Err(Error::Timeout(Timeout::Handshake))));
}

#[tokio::test]
async fn attack_13_a_refusal_without_end_is_cut_off() {
    let url = peers::answering(|_, mut respond| async move {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        let mut send = respond.send_response(response, false).unwrap();
        loop {
            send.reserve_capacity(10_000);
            match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(count)) => send.send_data(vec![b'x'; count].into(), false).unwrap(),
                _ => return,
            }
        }
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert_eq!(error.response().unwrap().body().len(), 65_536);
}

#[tokio::test]
async fn redirects_are_followed_on_the_connection_and_not_elsewhere() {
    let url = peers::answering(|request, mut respond| async move {
        let location = match request.uri().path() {
            "/here" => "/there",
            "/away" => "http://user:secret@elsewhere.example/?token=secret",
            _ => {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data(Bytes::from_static(b"\x81\x02hi"), false)
                    .unwrap();
                return std::future::pending::<()>().await;
            }
        };
        let response = Response::builder().status(307).header(LOCATION, location);
        respond
            .send_response(response.body(()).unwrap(), true)
            .unwrap();
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let (mut ws, _) = connection
        .open(client(&url, "here").redirects(1))
        .await
        .unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hi"));

    for (path, limit) in [("here", 0), ("away", 0), ("away", 5)] {
        let error = connection
            .open(client(&url, path).redirects(limit))
            .await
            .unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
        let Error::Redirect { error, .. } = error else {
            panic!("{error:?}")
        };
        match limit {
            0 => assert!(matches!(error, RedirectError::NotFollowed { .. })),
            _ => assert!(
                matches!(error, RedirectError::OtherOrigin { .. }),
                "{error:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_connection_opens_no_websockets_to_another_origin() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    for other in [
        "ws://localhost:1/".to_owned(),
        server.url.replace("ws:", "wss:"),
    ] {
        let error = connection
            .open(Client::new(&other).unwrap())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Http2(Http2Error::Origin { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_opens_none_is_judged_as_strictly_as_over_http_1() {
    for (name, value, expected) in [
        ("content-length", "5", HandshakeError::ConnectBody),
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
        let url = peers::answering(move |_, mut respond| async move {
            let response = Response::builder().header(name, value).body(()).unwrap();
            let _send = respond.send_response(response, false).unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let connection = client(&url, "").connect_http2().await.unwrap();
        let hasty = Config::default().handshake_timeout(Duration::from_millis(100));
        let error = connection
            .open(client(&url, "").config(hasty))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Handshake { error, .. } if *error == expected),
            "{name}: {error:?}"
        );
    }
}
