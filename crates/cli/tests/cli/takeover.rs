//! A second server takes over from the first, with its socket and its log, while clients publish and listen.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::post::post;
use crate::support::{Running, Server, supervised};
use crate::traffic::{Publish, Traffic};

fn begin(listener: &TcpListener, dir: &str, more: &[&str]) -> Running {
    let args = ["serve", "--data-dir", dir, "--listen", "127.0.0.1:1"];
    Running::run(&mut supervised(listener, &[&args, more].concat()))
}

/// Publishes on a new connection each time: none is refused, and each is answered.
fn anew(address: &str, channel: &str, key: &str, body: &str) -> String {
    let answer = post(address, channel, key, body).expect("each connection is answered");
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["cursor"].as_str().unwrap().to_owned()
}

/// Publishes on a connection that is kept for as long as the server keeps it.
fn kept() -> Box<Publish> {
    let mut connection: Option<BufReader<TcpStream>> = None;
    Box::new(move |address, channel, key, body| {
        loop {
            let is_new = connection.is_none();
            let mut stream = connection.take().unwrap_or_else(|| {
                BufReader::new(TcpStream::connect(address).expect("no connection is refused"))
            });
            match ask(&mut stream, address, channel, key, body) {
                Ok(answer) => {
                    let is_last = answer.head.contains("\r\nconnection: close\r\n");
                    if answer.status == 201 {
                        connection = (!is_last).then_some(stream);
                        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                        return answer["cursor"].as_str().unwrap().to_owned();
                    }
                    // The log is let go of already.
                    assert_eq!(answer.status, 503, "{}", answer.body);
                    assert!(
                        answer.head.contains("\r\nretry-after: 1\r\n"),
                        "{}",
                        answer.head
                    );
                    assert!(is_last && !is_new, "{}", answer.head);
                }
                // An idle one may be closed at any time.
                Err(error) => assert!(!is_new, "{error}"),
            }
        }
    })
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn ask(
    stream: &mut BufReader<TcpStream>,
    address: &str,
    channel: &str,
    key: &str,
    body: &str,
) -> io::Result<Answer> {
    let request = format!(
        "POST /channels/{channel} HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n\
         idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes())?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok(Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body: String::from_utf8(body).unwrap(),
    })
}

#[test]
fn a_second_server_takes_over_and_nobody_is_refused_and_nothing_lost_doubled_or_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::started(begin(&listener, dir, &[]));
    let traffic = Traffic::begin(&server, |publisher| match publisher % 2 {
        0 => Box::new(anew),
        _ => kept(),
    });
    for _ in 0..3 {
        traffic.go_on(200);
        let next = begin(&listener, dir, &[]);
        next.says("is in use: waiting up to 30s for the other server to let go of it");
        traffic.go_on(200);
        server.running.signal("TERM");
        traffic.go_on(200);
        assert_eq!(server.running.end().code(), Some(0));
        server = Server::started(next);
    }
    traffic.go_on(200);
    traffic.end();
    server.running.signal("TERM");
    assert_eq!(server.running.end().code(), Some(0));
}

/// A listener that takes nothing holds the end up, but not the log.
#[test]
fn the_log_is_let_go_of_before_the_last_listener_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = Server::started(begin(&listener, dir, &["--drain", "1h"]));
    let address = first.address().to_owned();
    // A WebSocket whose Close is not answered.
    let mut stalled = TcpStream::connect(&address).unwrap();
    write!(
        stalled,
        "GET /channels/a HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    stalled.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let cursor = first.publish("a", "1");
    let second = begin(&listener, dir, &[]);
    second.says("is in use");
    first.running.signal("TERM");
    // Also who comes to the socket before the second has begun is answered by it.
    assert_eq!(post(&address, "a", "", "2").unwrap().status, 201);
    let second = Server::started(second);
    let page = crate::post::get(&address, &format!("a?since={cursor}"), "").unwrap();
    assert_eq!(page.json()["recovered"], true);
    assert_eq!(page.json()["publications"][0]["data"], "2");
    let mut first = first;
    assert!(!first.running.has_ended());
    drop(stalled);
    assert_eq!(first.running.end().code(), Some(0));
    second.running.signal("TERM");
    assert_eq!(second.running.end().code(), Some(0));
}

#[test]
fn a_server_that_waits_for_the_log_ends_when_it_is_told_to_and_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _first = Server::started(begin(&listener, dir, &[]));
    let second = begin(&listener, dir, &["--data-dir-wait", "1h"]);
    second.says("waiting up to 3600s");
    second.signal("TERM");
    assert_eq!(second.end().code(), Some(0));
    let (status, log) = begin(&listener, dir, &["--data-dir-wait", "50ms"]).end_with_log();
    assert_eq!(status.code(), Some(1));
    let told = log.join("\n");
    assert!(
        told.contains(&format!(
            "error: {dir} is in use: another server keeps its log there"
        )),
        "{told}"
    );
}

/// The operators' port is no part of what is handed over.
#[test]
fn the_operators_port_follows_when_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let operators = crate::support::unused_address();
    let metrics = ["--metrics-listen", &operators];
    let first = Server::started(begin(&listener, dir, &metrics));
    let ready = || crate::post::look(&operators, "readyz", "");
    assert_eq!(ready().unwrap().status, 200);
    let second = begin(&listener, dir, &metrics);
    second.says("is in use");
    first.running.signal("TERM");
    let second = Server::started(second);
    second.running.says("(metrics.listen) is in use");
    assert_eq!(first.running.end().code(), Some(0));
    while ready().is_err() {
        std::thread::yield_now();
    }
    assert_eq!(ready().unwrap().status, 200);
    second.running.signal("TERM");
    assert_eq!(second.running.end().code(), Some(0));
}
