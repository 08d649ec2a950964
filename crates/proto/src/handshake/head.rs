//! Reading and writing the heads of HTTP/1.1 messages, for those who have no HTTP library at hand.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};

use crate::config::Config;

/// More fields than any honest handshake has.
const MAX_FIELDS: usize = 100;

/// Why a head can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Longer than [`Config::max_head`].
    #[error("the head of the handshake is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// More than 100 header fields.
    #[error("the head of the handshake has more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// Not HTTP/1.
    #[error("the handshake is not HTTP/1: {0}")]
    Malformed(httparse::Error),
    /// The stream ended before the head did.
    #[error("the connection was closed in the middle of the handshake")]
    Eof,
}

impl HeadError {
    /// The status that a server answers with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } | Self::TooManyFields => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Malformed(_) | Self::Eof => StatusCode::BAD_REQUEST,
        }
    }
}

/// Collects the head of an HTTP/1 message, bounded in bytes and in time.
///
/// Each byte is looked at once while the end is sought, and the head is parsed once, when it is whole: a peer that
/// sends it byte by byte costs no more than another.
#[derive(Debug)]
pub struct HeadReader {
    bytes: BytesMut,
    scanned: usize,
    limit: usize,
    deadline: Instant,
}

impl HeadReader {
    /// A reader whose deadline begins now.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            bytes: BytesMut::new(),
            scanned: 0,
            limit: config.limits().max_head,
            deadline: now + config.timeouts().handshake,
        }
    }

    /// When the handshake has taken too long.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Takes bytes in; `true` once the head is whole.
    ///
    /// # Errors
    /// [`HeadError::TooLong`].
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<bool, HeadError> {
        self.bytes.extend_from_slice(bytes);
        let end = self.find_end();
        // What follows the head in the same read belongs to the WebSocket and is not held against it.
        if end.unwrap_or(self.bytes.len()) > self.limit {
            return Err(HeadError::TooLong { limit: self.limit });
        }
        Ok(end.is_some())
    }

    /// The request, and the bytes that came behind it.
    ///
    /// # Errors
    /// The head is not whole, or not that of an HTTP/1 request.
    pub fn into_request(mut self) -> Result<(Request<()>, Bytes), HeadError> {
        let head = self.take_head()?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        whole(parsed.parse(&head)?, &head)?;
        let malformed = || HeadError::Malformed(httparse::Error::Token);
        let mut request = Request::new(());
        *request.method_mut() = parsed
            .method
            .unwrap_or_default()
            .parse()
            .map_err(|_| malformed())?;
        *request.uri_mut() = parsed
            .path
            .unwrap_or_default()
            .parse()
            .map_err(|_| malformed())?;
        *request.version_mut() = version(parsed.version);
        *request.headers_mut() = header_map(parsed.headers)?;
        Ok((request, self.bytes.freeze()))
    }

    /// The response, and the bytes that came behind it.
    ///
    /// # Errors
    /// The head is not whole, or not that of an HTTP/1 response.
    pub fn into_response(mut self) -> Result<(Response<()>, Bytes), HeadError> {
        let head = self.take_head()?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        whole(parsed.parse(&head)?, &head)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default())
            .map_err(|_| HeadError::Malformed(httparse::Error::Status))?;
        *response.version_mut() = version(parsed.version);
        *response.headers_mut() = header_map(parsed.headers)?;
        Ok((response, self.bytes.freeze()))
    }

    fn find_end(&mut self) -> Option<usize> {
        // The end may straddle two reads: look again at the last three bytes.
        let from = self.scanned.saturating_sub(3);
        self.scanned = self.bytes.len();
        memchr::memmem::find(&self.bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
    }

    fn take_head(&mut self) -> Result<BytesMut, HeadError> {
        self.scanned = 0;
        let end = self.find_end().ok_or(HeadError::Eof)?;
        Ok(self.bytes.split_to(end))
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyFields,
            other => Self::Malformed(other),
        }
    }
}

/// The parser takes a bare LF for the end of a line too, where others on the way see one line, or the end of the head: each
/// would then have read other fields. RFC 9112 §2.2 allows to refuse it.
fn whole(parsed: httparse::Status<usize>, head: &[u8]) -> Result<(), HeadError> {
    let mut line_feeds = memchr::memchr_iter(b'\n', head);
    let bare = line_feeds.any(|at| at == 0 || head[at - 1] != b'\r');
    match parsed {
        httparse::Status::Complete(end) if end == head.len() && !bare => Ok(()),
        _ => Err(HeadError::Malformed(httparse::Error::NewLine)),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(1) {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    }
}

fn header_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| HeadError::Malformed(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_bytes(field.value);
        map.append(
            name,
            value.map_err(|_| HeadError::Malformed(httparse::Error::HeaderValue))?,
        );
    }
    Ok(map)
}

/// Appends a request's head to `out`.
pub fn write_request(request: &Request<()>, out: &mut Vec<u8>) {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(request.headers(), out);
}

/// Appends a response's head to `out`.
pub fn write_response<B>(response: &Response<B>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(
        response
            .status()
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    );
    out.extend_from_slice(b"\r\n");
    write_fields(response.headers(), out);
}

/// Names and values were validated when the map was made: neither can hold a line break.
fn write_fields(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reader(now: Instant) -> HeadReader {
        HeadReader::new(
            &Config::default()
                .max_head(64)
                .handshake_timeout(Duration::from_secs(7)),
            now,
        )
    }

    // A test needs some instant to begin with; it passes no time.
    #[allow(clippy::disallowed_methods)]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_head_in_single_bytes_with_frames_behind_it() {
        let now = some_instant();
        let mut reader = reader(now);
        assert_eq!(reader.poll_timeout(), now + Duration::from_secs(7));
        let head = b"GET /a?b HTTP/1.1\r\nHost: x\r\nX: \xff\r\n\r\n";
        for byte in &head[..head.len() - 1] {
            assert_eq!(reader.handle_input(&[*byte]), Ok(false));
        }
        assert_eq!(reader.handle_input(b"\n\x81\x85"), Ok(true));
        let (request, rest) = reader.into_request().unwrap();
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.headers()["host"], "x");
        assert_eq!(request.headers()["x"].as_bytes(), b"\xff");
        assert_eq!(&rest[..], b"\x81\x85");
    }

    #[test]
    fn a_head_over_the_limit_is_refused_before_it_ends() {
        let mut reader = reader(some_instant());
        assert_eq!(reader.handle_input(&[b'x'; 64]), Ok(false));
        let error = reader.handle_input(b"x").unwrap_err();
        assert_eq!(error, HeadError::TooLong { limit: 64 });
        assert_eq!(error.status(), 431);
    }

    #[test]
    fn frames_behind_the_head_do_not_count_as_head() {
        let mut reader = reader(some_instant());
        let mut bytes = b"HTTP/1.1 101 OK\r\nA: b\r\n\r\n".to_vec();
        bytes.resize(1000, 0);
        assert_eq!(reader.handle_input(&bytes), Ok(true));
        let (response, rest) = reader.into_response().unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(rest.len(), 1000 - 25);
    }

    #[test]
    fn what_is_not_http_1_is_refused() {
        for wrong in [
            "GET / HTTP/2\r\n\r\n",
            "nonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        ] {
            let mut reader = reader(some_instant());
            assert_eq!(reader.handle_input(wrong.as_bytes()), Ok(true));
            assert!(
                matches!(reader.into_request(), Err(HeadError::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request::get("/chat?x=1")
            .header("host", "h")
            .header("a", "b")
            .header("a", "c")
            .body(())
            .unwrap();
        let mut bytes = Vec::new();
        write_request(&request, &mut bytes);
        let mut reader = HeadReader::new(&Config::default(), some_instant());
        assert_eq!(reader.handle_input(&bytes), Ok(true));
        let (read, _) = reader.into_request().unwrap();
        assert_eq!(
            (read.uri(), read.headers()),
            (request.uri(), request.headers())
        );
    }
}
