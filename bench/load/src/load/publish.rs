//! HTTP requests on one kept-alive connection, one after the other.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::{Cost, Meter};
use crate::wire::answer_length;

/// Cost per request. Its answer must be of the class 2xx.
pub fn publish(
    port: u16,
    pid: u32,
    request: &[u8],
    warm_up: Duration,
    time: Duration,
) -> io::Result<Cost> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(super::STALLED))?;
    let warm = Instant::now() + warm_up;
    while Instant::now() < warm {
        ask(&mut stream, request)?;
    }
    let meter = Meter::begin(pid)?;
    let end = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < end {
        ask(&mut stream, request)?;
        count += 1;
    }
    meter.cost(count)
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    hear(stream)
}

/// Takes one answer, which must be of the class 2xx.
pub(super) fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer_length(&answer).is_none_or(|length| answer.len() < length) {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    if !answer.starts_with(b"HTTP/1.1 2") {
        let said = String::from_utf8_lossy(&answer);
        return Err(io::Error::other(format!("the server answered:\n{said}")));
    }
    Ok(())
}
