//! Requests without a process each, and their answers as they come.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer: its status, its head in lower case, and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON; of a receipt, a problem or a page.
    pub(crate) fn json(&self) -> Value {
        super::support::json(&self.body)
    }
}

/// Publishes text, by one connection.
pub(crate) fn post(address: &str, channel: &str, key: &str, body: &str) -> io::Result<Answer> {
    let length = body.len();
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("idempotency-key: {key}\r\n")
    };
    ask(
        address,
        &format!(
            "POST /channels/{channel} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             {key}content-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Asks for what is below `/channels/`.
pub(crate) fn get(address: &str, path: &str, headers: &str) -> io::Result<Answer> {
    look(address, &format!("channels/{path}"), headers)
}

/// Asks for what is below `/`.
pub(crate) fn look(address: &str, path: &str, headers: &str) -> io::Result<Answer> {
    ask(
        address,
        &format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"),
    )
}

fn ask(address: &str, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    // Only to end a test that hangs.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(cut());
    }
    Ok(Answer {
        status: status.ok_or_else(cut)?,
        head,
        body: body.to_owned(),
    })
}
