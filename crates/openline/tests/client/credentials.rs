//! Credentials: where they go, and where they never show.

use http::HeaderValue;
use http::header::COOKIE;
use openline::{Client, Error, Proxy};

use crate::servers::echo_server;
use crate::{client, echoes};

#[tokio::test]
async fn user_info_of_the_url_is_sent_as_basic_and_not_in_the_target() {
    let (server, asked) = echo_server().await;
    let client = client(&format!("ws://al%40ice:open%20sesame@{server}/chat?x=1"));
    echoes(client.connect().await.unwrap().0).await;
    let asked = asked.one();
    assert!(asked.starts_with("get /chat?x=1\n"), "{asked}");
    assert!(
        asked.contains("authorization: basic ywxaawnlom9wzw4gc2vzyw1l\n"),
        "{asked}"
    );
    assert!(asked.contains(&format!("host: {server}\n")), "{asked}");
}

#[tokio::test]
async fn the_last_authorization_is_the_one() {
    let (server, asked) = echo_server().await;
    let client = client(&format!("ws://a:b@{server}/"))
        .basic("c", "d")
        .unwrap();
    client.bearer("t0ken").unwrap().connect().await.unwrap();
    assert_eq!(
        asked.one().matches("authorization: bearer t0ken").count(),
        1
    );
    assert_eq!(asked.one().matches("authorization").count(), 1);
}

#[test]
fn no_credential_is_ever_shown() {
    let client = client("wss://alice:s3cret@h/?token=s3cret")
        .header(COOKIE, HeaderValue::from_static("s3cret"))
        .proxy(Proxy::new("http://bob:s3cret@proxy").unwrap());
    let client_and_more = format!("{client:?} {:?}", client.clone().bearer("s3cret").unwrap());
    assert!(!client_and_more.contains("s3cret"), "{client_and_more}");
    assert!(client_and_more.contains("wss://h/"), "{client_and_more}");
    for wrong in [
        "http://alice:s3cret@h/",
        "wss://alice:s3cret@h h/",
        "wss://alice:s3cr%3aet@h:x/?s3cret",
    ] {
        let error = Client::new(wrong).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("s3cr") && !shown.contains("alice"),
            "{shown}"
        );
    }
}

#[test]
fn attack_12_no_line_break_gets_into_a_request() {
    assert!(Client::new("ws://h/a\r\nx: y").is_err());
    let plain = client("ws://h/");
    for wrong in [
        plain.clone().bearer("a\r\nx: y"),
        plain.clone().basic("a\r\nx: y", ""),
        plain.basic("a", "b\r\nx: y"),
    ] {
        assert!(matches!(wrong, Err(Error::Credentials(_))));
    }
}
