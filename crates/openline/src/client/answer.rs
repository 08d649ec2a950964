//! Reading an HTTP answer, of a server or of a proxy: bounded in bytes, and never for longer than it lasts.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, DATE, LOCATION, RETRY_AFTER, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};
use openline_proto::Config;
use openline_proto::handshake::{HeadError, HeadReader};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use crate::stream::Stream;
use crate::timer::now;

/// Of a refusal's body, what is kept to be shown.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Reads a head of at most [`Config::max_head`]; the caller has the deadline.
pub(crate) async fn read_head<E>(
    stream: &mut Stream,
    config: &Config,
) -> Result<(Response<()>, Bytes), E>
where
    E: From<io::Error> + From<HeadError>,
{
    let mut reader = HeadReader::new(config, now());
    let mut bytes = vec![0; 4096];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 || reader.handle_input(&bytes[..count])? {
            let (mut response, early) = reader.into_response()?;
            mark_secrets(response.headers_mut());
            return Ok((response, early));
        }
    }
}

/// Both may carry a token, and errors show their responses by `Debug`.
pub(super) fn mark_secrets(headers: &mut HeaderMap) {
    for (name, value) in headers {
        if name == SET_COOKIE || name == LOCATION {
            value.set_sensitive(true);
        }
    }
}

/// Completes a refusal by its body, as much of it as comes until the deadline: the refusal itself is what must be told.
pub(crate) async fn read_body(
    stream: &mut Stream,
    response: Response<()>,
    early: Bytes,
    deadline: Instant,
) -> Box<Response<Bytes>> {
    let mut body = Body::new(&response);
    body.handle_input(&early);
    let mut input = BytesMut::with_capacity(4096);
    while !body.is_over() {
        match timeout_at(deadline, stream.read_buf(&mut input)).await {
            Ok(Ok(1..)) => body.handle_input(&input),
            _ => break,
        }
        input.clear();
    }
    Box::new(response.map(|()| body.bytes.freeze()))
}

/// A body as far as it came, without its framing (RFC 9112 §6).
struct Body {
    bytes: BytesMut,
    framing: Framing,
}

enum Framing {
    /// So many bytes are to come; as many as there are if the end of the connection ends it.
    Plain(usize),
    /// The size of a chunk is read: digits so far, and whether an extension or the line's end began.
    Size(usize, bool),
    /// So many bytes of a chunk are to come.
    Chunk(usize),
    /// The line break behind a chunk.
    ChunkEnd,
}

impl Body {
    fn new(response: &Response<()>) -> Self {
        let headers = response.headers();
        let chunked = headers
            .get_all(TRANSFER_ENCODING)
            .into_iter()
            .next_back()
            .is_some_and(|coding| coding.as_bytes().to_ascii_lowercase().ends_with(b"chunked"));
        let declared = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let framing = match response.status() {
            status if status.is_informational() => Framing::Plain(0),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::Plain(0),
            _ if chunked => Framing::Size(0, false),
            _ => Framing::Plain(declared().unwrap_or(MAX_BODY).min(MAX_BODY)),
        };
        Self {
            bytes: BytesMut::new(),
            framing,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.framing, Framing::Plain(0)) || self.bytes.len() >= MAX_BODY
    }

    fn handle_input(&mut self, mut input: &[u8]) {
        while let Some((byte, rest)) = input.split_first()
            && !self.is_over()
        {
            match &mut self.framing {
                Framing::Plain(left) | Framing::Chunk(left) => {
                    let count = (*left).min(input.len()).min(MAX_BODY - self.bytes.len());
                    self.bytes.extend_from_slice(&input[..count]);
                    input = &input[count..];
                    *left -= count;
                    if matches!(self.framing, Framing::Chunk(0)) {
                        self.framing = Framing::ChunkEnd;
                    }
                    continue;
                }
                Framing::ChunkEnd if *byte == b'\n' => self.framing = Framing::Size(0, false),
                Framing::ChunkEnd => {}
                Framing::Size(size, _) if *byte == b'\n' => {
                    // A chunk of no bytes is the last one.
                    self.framing = match *size {
                        0 => Framing::Plain(0),
                        size => Framing::Chunk(size),
                    };
                }
                Framing::Size(size, rest) => match (*byte as char).to_digit(16) {
                    Some(digit) if !*rest => {
                        *size = size.saturating_mul(16).saturating_add(digit as usize);
                    }
                    _ => *rest = true,
                },
            }
            input = rest;
        }
    }
}

/// How long a refusal asks to wait (RFC 9110 §10.2.3). A date is taken against the answer's own `Date`, if it has one,
/// so that clocks that differ do not matter.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(value).ok()?;
    let date = || httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok();
    let now = date().unwrap_or_else(SystemTime::now);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    /// Fed in pieces of a size; the body, and whether its end was known.
    fn body(response: &Response<()>, input: &[u8], piece: usize) -> (String, bool) {
        let mut body = Body::new(response);
        input
            .chunks(piece)
            .for_each(|piece| body.handle_input(piece));
        let over = body.is_over();
        (String::from_utf8(body.bytes.to_vec()).unwrap(), over)
    }

    #[test]
    fn a_body_ends_where_it_says() {
        let plain = response(404, &[("content-length", "5")]);
        let chunked = response(404, &[("transfer-encoding", "gzip, Chunked")]);
        let endless = response(404, &[]);
        let chunks = b"3;x=1f\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";
        for piece in 1..40 {
            assert_eq!(body(&plain, b"hello there", piece), ("hello".into(), true));
            assert_eq!(body(&chunked, chunks, piece), ("hello".into(), true));
            assert_eq!(body(&endless, b"hello", piece), ("hello".into(), false));
        }
        for empty in [101, 204, 304] {
            assert_eq!(body(&response(empty, &[]), b"x", 1), (String::new(), true));
        }
    }

    #[test]
    fn attack_13_a_body_is_bounded_whatever_it_declares_client() {
        let endless = vec![b'x'; 100_000];
        for length in ["99999999999999999999999999", "100000000", "nonsense"] {
            let response = response(500, &[("content-length", length)]);
            assert_eq!(body(&response, &endless, 999).0.len(), MAX_BODY);
        }
        let response = response(500, &[("transfer-encoding", "chunked")]);
        let huge = [&b"ffffffffffffffffffffffff\r\n"[..], &endless].concat();
        let (text, over) = body(&response, &huge, 999);
        assert_eq!((text.len(), over), (MAX_BODY, true));
    }

    #[test]
    fn retry_after_in_both_forms() {
        let wait = |fields: &[(&'static str, &'static str)]| {
            retry_after(response(503, fields).headers()).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&[("retry-after", "120")]), Some(120));
        assert_eq!(
            wait(&[("retry-after", "99999999999999999999999")]),
            Some(u64::MAX)
        );
        let date = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");
        let then = ("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT");
        assert_eq!(wait(&[date, then]), Some(90));
        let past = ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT");
        assert_eq!(wait(&[date, past]), Some(0));
        for nonsense in ["", "-1", "1.5", "soon"] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }
}
