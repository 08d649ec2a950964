//! A raw HTTP/1.1 client that shows every byte's meaning and hides no fault.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{json, soon};

/// A request's bytes, with `Host: localhost` and the body's length unless others are given.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        bytes.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    let given = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !given && (!body.is_empty() || method == "POST") {
        bytes.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        json(&self.body)
    }

    /// Checks that this is a problem of that status and type; its detail.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = json(&self.body);
        assert_eq!(problem["type"], format!("/problems/{kind}"));
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// Bytes sent, and received and looked at.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Of a streamed body: what came and was not asked for yet.
    pending: Vec<u8>,
    over: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        Self {
            stream,
            sent: 0,
            received: 0,
            pending: Vec::new(),
            over: false,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn response(&mut self, method: &str) -> Response {
        let (status, headers) = self.head().await;
        let mut body = Vec::new();
        if method != "HEAD" && status >= 200 && status != 204 && status != 304 {
            if let Some(length) = headers.get("content-length") {
                body = self.bytes(length.parse().unwrap()).await;
            } else {
                assert_eq!(headers["transfer-encoding"], "chunked");
                while let Some(chunk) = self.chunk().await {
                    body.extend(chunk);
                }
            }
        }
        Response {
            status,
            headers,
            body,
        }
    }

    pub(crate) async fn head(&mut self) -> (u16, HashMap<String, String>) {
        let status = self.line().await;
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("{status:?}"));
        let mut headers = HashMap::<String, String>::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "");
                return (status.parse().unwrap(), headers);
            };
            let value = value.trim();
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|all| all.extend([", ", value]))
                .or_insert_with(|| value.to_owned());
        }
    }

    /// The next chunk of a chunked body.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await, 16).unwrap();
        let chunk = self.bytes(size).await;
        assert_eq!(self.line().await, "");
        (size > 0).then_some(chunk)
    }

    /// What comes of a chunked body up to the connection's end, which may be in the middle of it.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        soon(self.stream.read_to_end(&mut bytes)).await.unwrap();
        let (mut rest, mut body) = (&bytes[..], Vec::new());
        while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&rest[..at]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let chunk = &rest[at + 2..];
            body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            rest = chunk.get(size + 2..).unwrap_or_default();
        }
        body
    }

    /// The text of a streamed body up to `end`, which is taken too; `None` at the body's proper end.
    pub(crate) async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let at = self
                .pending
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let rest = self.pending.split_off(at + end.len());
                let mut text = std::mem::replace(&mut self.pending, rest);
                text.truncate(at);
                return Some(String::from_utf8(text).unwrap());
            }
            match self.chunk().await {
                Some(chunk) if !self.over => self.pending.extend(chunk),
                _ => {
                    self.over = true;
                    assert!(self.pending.is_empty(), "it ends in the middle");
                    return None;
                }
            }
        }
    }

    /// The next event of an event stream; heartbeats are left out.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            let text = self.until("\n\n").await?;
            let mut event = Event::default();
            let mut data = Vec::new();
            for line in text.lines() {
                match line.split_once(": ").unwrap_or((line, "")) {
                    ("id", id) => event.id = id.to_owned(),
                    ("event", name) => event.name = name.to_owned(),
                    ("data", line) => data.push(line),
                    (":", "") => {}
                    other => panic!("{other:?}"),
                }
            }
            if !data.is_empty() {
                event.data = data.join("\n");
                return Some(event);
            }
        }
    }

    /// The next line of JSON; heartbeats are left out.
    pub(crate) async fn object(&mut self) -> Option<serde_json::Value> {
        loop {
            let line = self.until("\n").await?;
            if !line.is_empty() {
                return Some(json(line.as_bytes()));
            }
        }
    }

    /// Whether the server has ended the connection, with nothing more said.
    pub(crate) async fn is_at_end(&mut self) -> bool {
        matches!(soon(self.stream.read_u8()).await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
    }

    /// Whether the server has ended the connection, by whatever means, with nothing more said.
    pub(crate) async fn is_gone(&mut self) -> bool {
        soon(self.stream.read_u8()).await.is_err()
    }

    /// The next bytes, as they are.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        soon(self.stream.read_exact(&mut bytes)).await.unwrap();
        self.received += count as u64;
        bytes
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.received += soon(self.stream.read_line(&mut line)).await.unwrap() as u64;
        line.trim_end_matches(['\r', '\n']).to_owned()
    }
}

/// A Server-Sent Event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}
