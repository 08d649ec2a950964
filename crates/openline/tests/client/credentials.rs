//! Credentials: where they go, and where they never show.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use http::header::COOKIE;
use openline::{Client, Error, Event, Proxy, Reconnecting};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::servers::{echo_server, http_proxy, redirecting};
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
fn attack_12_no_line_break_gets_into_a_request_client() {
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

/// Writes down all that is traced.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<String>>);

impl Visit for Traces {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Traces {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn no_credential_is_ever_traced() {
    let traces = Traces::default();
    let _guard = tracing::subscriber::set_default(traces.clone());
    let (from, _) = redirecting(302, "/again?s3cret").await;
    let (proxy, _) = http_proxy(from, None).await;
    let proxy = Proxy::new(&format!("http://alice:s3cret@{proxy}")).unwrap();
    let client = client("ws://bob:s3cret@first.invalid/?s3cret")
        .header(COOKIE, HeaderValue::from_static("s3cret"))
        .redirects(1)
        .proxy(proxy);
    let mut ws = Reconnecting::new(client);
    while let Some(event) = ws.next().await {
        if let Event::Disconnected { cause, .. } = event {
            let shown = format!("{cause} {cause:?} {ws:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
    let traces = traces.0.lock().unwrap();
    for told in [
        "proxy=http://",
        "server=ws://first.invalid/?…",
        "to=ws://first.invalid/again?…",
    ] {
        assert!(traces.contains(told), "{traces}");
    }
    assert!(!traces.contains("s3cret"), "{traces}");
}
