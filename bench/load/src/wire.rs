//! The bytes on the wire: made and counted here without any WebSocket library.

/// The answer to [`KEY`] is always the same (RFC 6455 §1.3 has both), so that a raw server need not compute it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What a raw server answers to [`upgrade_request`].
pub const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An opening handshake. `more` is header lines, each with its line end.
pub fn upgrade_request(port: u16, path: &str, more: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// Text of which no two neighbouring bytes are the same.
pub fn payload(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// A whole message as a frame; a client's is masked.
pub fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(bit | length as u8),
        length @ 126..=0xffff => {
            bytes.push(bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(bit | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(key) = mask {
        bytes.extend_from_slice(&key);
    }
    let key = mask.unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// A client's frame, masked with a key that is none of the easy ones.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]))
}

/// How many bytes the first frame has, once it is whole.
pub fn first_frame(bytes: &[u8]) -> Option<usize> {
    let mut frames = Frames::default();
    let last = (0..bytes.len()).find(|&at| frames.count(&bytes[at..=at]) > 0)?;
    Some(last + 1)
}

/// Follows a stream of frames and tells where each ends; payloads are not looked at.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: [u8; 14],
    have: usize,
    left: u64,
    closed: bool,
    /// The payload of the frame that is passing, and the least that is counted.
    size: u64,
    least: u64,
}

impl Frames {
    /// Counts only frames with payloads of at least so many bytes.
    pub fn at_least(least: u64) -> Self {
        Self {
            least,
            ..Self::default()
        }
    }

    /// Takes bytes of the stream and returns how many frames end in them.
    pub fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() as u64);
                self.left -= taken;
                bytes = &bytes[taken as usize..];
            } else {
                self.head[self.have] = bytes[0];
                self.have += 1;
                bytes = &bytes[1..];
                match self.length() {
                    Some(length) => (self.left, self.size) = (length, length),
                    None => continue,
                }
                self.closed |= self.head[0] & 0x0f == CLOSE;
                self.have = 0;
            }
            ended += u64::from(self.left == 0 && self.size >= self.least);
        }
        ended
    }

    /// Whether a Close frame was among them.
    pub const fn has_closed(&self) -> bool {
        self.closed
    }

    /// The payload's length, once the head is whole.
    fn length(&self) -> Option<u64> {
        let second = *self.head[..self.have].get(1)?;
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have < 2 + extended + masked {
            return None;
        }
        Some(match extended {
            0 => u64::from(second & 0x7f),
            width => self.head[2..2 + width]
                .iter()
                .fold(0, |length, &byte| length << 8 | u64::from(byte)),
        })
    }
}

/// Where the head of an HTTP message ends, if it is all there.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// The length of a whole HTTP answer that begins in `bytes`: its head, and as much body as `Content-Length` says.
pub fn answer_length(bytes: &[u8]) -> Option<usize> {
    let end = head_end(bytes)?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    Some(end + body.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut stream = Vec::new();
        for size in [0, 1, 125, 126, 1000, 65_535, 65_536] {
            stream.extend(frame(TEXT, &payload(size), None));
            stream.extend(client_frame(BINARY, &payload(size)));
        }
        for step in [1, 2, 3, 7, 100, stream.len()] {
            let mut frames = Frames::default();
            let counted: u64 = stream.chunks(step).map(|piece| frames.count(piece)).sum();
            assert_eq!(counted, 14, "in pieces of {step}");
        }
    }

    #[test]
    fn short_frames_are_not_counted_where_long_ones_are_awaited() {
        let stream = [
            frame(TEXT, b"2", None),
            frame(TEXT, &payload(125), None),
            frame(TEXT, &payload(200), None),
        ]
        .concat();
        assert_eq!(Frames::at_least(125).count(&stream), 2);
        let bytes: u64 = stream
            .chunks(1)
            .scan(Frames::at_least(126), |frames, byte| {
                Some(frames.count(byte))
            })
            .sum();
        assert_eq!(bytes, 1);
    }

    #[test]
    fn the_first_frame_ends_where_the_next_begins() {
        let first = frame(TEXT, &payload(200), None);
        let both = [first.clone(), frame(TEXT, b"more", None)].concat();
        assert_eq!(first_frame(&both), Some(first.len()));
        assert_eq!(first_frame(&first[..first.len() - 1]), None);
    }

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabcHTTP";
        assert_eq!(answer_length(answer), Some(answer.len() - 4));
        assert_eq!(answer_length(&answer[..30]), None);
    }
}
