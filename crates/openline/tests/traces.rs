//! What a connection tells of itself: a span, and its frames at TRACE, as people read them; no payload above that.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use openline::{CloseCode, Config, Deflate, Kind, WebSocket};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes down each event with the span that it was in.
#[derive(Clone)]
struct Notes {
    level: Level,
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
    entered: Arc<Mutex<Vec<u64>>>,
}

impl Notes {
    fn new(level: Level) -> Self {
        Self {
            level,
            lines: Arc::default(),
            spans: Arc::default(),
            entered: Arc::default(),
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, "{value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("openline") && *metadata.level() <= self.level
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        let mut spans = self.spans.lock().unwrap();
        spans.push(line.0);
        Id::from_u64(spans.len() as u64)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        if let Some(id) = self.entered.lock().unwrap().last() {
            let span = &self.spans.lock().unwrap()[*id as usize - 1];
            write!(line.0, "{span}: ").unwrap();
        }
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }
    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push(id.into_u64());
    }
    fn exit(&self, _: &Id) {
        self.entered.lock().unwrap().pop();
    }
}

#[tokio::test]
async fn frames_are_told_in_the_span_of_their_connection() {
    let notes = Notes::new(Level::TRACE);
    let _guard = tracing::subscriber::set_default(notes.clone());
    let (mut client, mut server) = WebSocket::pair();
    client.send("hello").await.unwrap();
    server.next().await.unwrap().unwrap();
    assert_eq!(
        notes.take(),
        [
            "websocket role=\"client\": > TEXT 'hello' [5 bytes]",
            "websocket role=\"server\": < TEXT 'hello' [5 bytes]",
        ]
    );
    let mut writer = server.writer(Kind::Binary).await.unwrap();
    writer.write(b"\x00\xff").await.unwrap();
    writer.finish().await.unwrap();
    server.feed_ping(b"?").unwrap();
    client.next().await.unwrap().unwrap();
    server.send(vec![7; 50_000]).await.unwrap();
    assert_eq!(
        notes.take(),
        [
            "websocket role=\"server\": > BINARY 00 ff [2 bytes, continued]",
            "websocket role=\"server\": > CONT '' [0 bytes]",
            "websocket role=\"server\": > PING '?' [1 byte]",
            "websocket role=\"client\": < BINARY 00 ff [2 bytes, continued]",
            "websocket role=\"client\": < CONT '' [0 bytes]",
            &format!(
                "websocket role=\"server\": > BINARY{}… [50000 bytes]",
                " 07".repeat(64)
            ),
        ]
    );
    client.next().await.unwrap().unwrap();
    let closing = tokio::join!(client.close(CloseCode::NORMAL, "bye"), async {
        while server.next().await.is_some() {}
    });
    assert!(closing.0.unwrap().clean);
    let told = notes.take().join("\n");
    for line in [
        "> CLOSE 1000 'bye' [5 bytes]",
        "< PING '?' [1 byte]",
        "> PONG '?' [1 byte]",
    ] {
        assert!(told.contains(line), "{line} is not in:\n{told}");
    }
}

#[tokio::test]
async fn no_payload_is_told_above_trace() {
    let notes = Notes::new(Level::DEBUG);
    let _guard = tracing::subscriber::set_default(notes.clone());
    let config = Config::default().deflate(Some(Deflate::default()));
    let (here, there) = tokio::io::duplex(1 << 16);
    let mut client = WebSocket::client(here, config.clone().into());
    let mut server = WebSocket::server(there, config.into());
    client.send("the secret").await.unwrap();
    client.feed_ping(b"the secret").unwrap();
    client.flush().await.unwrap();
    server.next().await.unwrap().unwrap();
    let closing = tokio::join!(client.close(CloseCode::NORMAL, "the secret"), async {
        while server.next().await.is_some() {}
    });
    assert!(closing.0.unwrap().clean);
    let told = notes.take().join("\n");
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(notes.spans.lock().unwrap().len(), 2);
}
