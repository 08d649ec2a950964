//! Redirects: when they are followed, and what goes along.

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};
use openline::{Error, RedirectError};
use tokio::io::AsyncWriteExt;

use crate::servers::{Asked, answering, echo, echo_server, read_head, redirecting, serve};
use crate::{client, echoes, redirect_error};

#[tokio::test]
async fn attack_26_redirects_are_followed_only_when_asked_client() {
    let (server, asked) = echo_server().await;
    let (from, _) = redirecting(302, format!("http://user:s3cret@{server}/there?s3cret")).await;
    let url = format!("ws://{from}/");
    let error = client(&url).connect().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains(&format!("`ws://{server}/there?…`")),
        "{shown}"
    );
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(error.response().unwrap().status(), 302);
    assert!(asked.all().is_empty());

    let (ws, _) = client(&url).redirects(1).connect().await.unwrap();
    echoes(ws).await;
    let asked = asked.one();
    assert!(asked.starts_with("get /there?s3cret\n"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn attack_26_credentials_do_not_go_to_another_origin_client() {
    let (server, asked) = echo_server().await;
    let (from, first) = redirecting(307, format!("ws://{server}/")).await;
    let mut key = HeaderValue::from_static("s3cret");
    key.set_sensitive(true);
    client(&format!("ws://alice:s3cret@{from}/"))
        .header(COOKIE, HeaderValue::from_static("s3cret"))
        .header(
            http::header::PROXY_AUTHORIZATION,
            HeaderValue::from_static("s3cret"),
        )
        .header(HeaderName::from_static("x-api-key"), key)
        .header(
            http::header::HOST,
            HeaderValue::from_static("inner.example"),
        )
        .header(http::header::USER_AGENT, HeaderValue::from_static("me"))
        .subprotocol("chat")
        .redirects(3)
        .connect()
        .await
        .unwrap();
    let first = first.one();
    assert!(
        first.contains("s3cret") && first.contains("authorization: basic"),
        "{first}"
    );
    assert!(first.contains("host: inner.example"), "{first}");
    let then = asked.one();
    assert!(
        !then.contains("s3cret") && !then.contains("authorization"),
        "{then}"
    );
    assert!(
        then.contains("user-agent: me\n") && then.contains(&format!("host: {server}\n")),
        "{then}"
    );
    assert!(then.contains("sec-websocket-protocol: chat\n"), "{then}");
}

#[tokio::test]
async fn within_an_origin_credentials_stay_and_relative_locations_are_resolved() {
    let asked = Asked::default();
    let heard = asked.clone();
    let server = serve(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut first = [0; 8];
            stream.peek(&mut first).await.unwrap();
            if &first == b"GET /a/b" {
                heard.add(&read_head(&mut stream).await);
                let answer = b"HTTP/1.1 308 X\r\nLocation: ../c?d#e\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            } else {
                echo(stream, heard).await;
            }
        }
    })
    .await;
    let client = client(&format!("ws://{server}/a/b"))
        .bearer("t0ken")
        .unwrap();
    echoes(client.redirects(1).connect().await.unwrap().0).await;
    let asked = asked.all();
    assert!(asked[1].starts_with("get /c?d\n"), "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|head| head.contains("authorization: bearer t0ken")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn attack_26_circles_chains_and_other_schemes_end_client() {
    let (circle, asked) = redirecting(301, "/").await;
    let result = client(&format!("ws://{circle}/"))
        .redirects(9)
        .connect()
        .await;
    assert!(matches!(
        redirect_error(result),
        RedirectError::Circle { .. }
    ));
    assert_eq!(asked.all().len(), 1);

    let (last, _) = redirecting(302, "/further").await;
    let (middle, _) = redirecting(302, format!("ws://{last}/")).await;
    let (first, _) = redirecting(302, format!("ws://{middle}/")).await;
    let result = client(&format!("ws://{first}/"))
        .redirects(2)
        .connect()
        .await;
    let location = format!("ws://{last}/further");
    assert_eq!(
        redirect_error(result),
        RedirectError::TooMany { limit: 2, location }
    );

    for wrong in ["ftp://h/", "javascript:alert(1)", "http://"] {
        let (server, _) = redirecting(302, wrong).await;
        let result = client(&format!("ws://{server}/"))
            .redirects(9)
            .connect()
            .await;
        assert_eq!(
            redirect_error(result),
            RedirectError::Address {
                location: wrong.into()
            }
        );
    }
    // Without a place to go it is a refusal as others.
    let (server, _) = answering("HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n").await;
    let result = client(&format!("ws://{server}/"))
        .redirects(9)
        .connect()
        .await;
    assert!(matches!(result, Err(Error::Handshake { .. })));
}
