//! `serve` and `demo` as processes: addresses, the replay, and how they end.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;

use crate::support::{self, Running, Server, run, text};

#[test]
fn an_address_in_use_is_an_error() {
    let server = Server::start();
    for command in ["serve", "demo"] {
        let output = run(&[command, "--listen", server.address()]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(stderr.contains(server.address()), "{stderr}");
        assert!(
            stderr.contains("\n\nhint: choose another address with --listen"),
            "{stderr}"
        );
    }
}

#[test]
fn a_signal_ends_a_server_well() {
    for command in ["serve", "demo"] {
        for signal in ["TERM", "INT"] {
            let server = Server::start_with(&[command, "--listen", "127.0.0.1:0"]);
            server.running.signal(signal);
            assert_eq!(server.running.end().code(), Some(0), "{command} {signal}");
        }
    }
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let server = Server::start();
    // A request whose body never comes keeps the drain waiting.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(
        stream,
        "POST /channels/a HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
        server.address()
    )
    .unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100", "the request is under way");
    server.running.signal("TERM");
    // The drain has begun when nothing listens any more.
    while TcpStream::connect(server.address()).is_ok() {}
    server.running.signal("TERM");
    assert_eq!(server.running.end().code(), Some(1));
}

#[test]
fn the_demo_tells_where_it_is_and_what_it_replays() {
    let mut demo = Server::start_with(&["demo", "--listen", "127.0.0.1:0", "--speed", "7200"]);
    let replaying = demo.running.line();
    assert!(replaying.contains("12 September 2013"), "{replaying}");
    assert!(
        replaying.contains("992 flights at 7200 times"),
        "{replaying}"
    );
    assert!(demo.running.line().contains(&demo.url));
    let curl = demo.running.line();
    assert!(
        curl.contains(&format!("'{}/channels/flights/*'", demo.url)),
        "{curl}"
    );
}

#[test]
fn the_demo_publishes_every_flight() {
    let demo = Server::start_with(&["demo", "--listen", "127.0.0.1:0"]);
    let mut listener = demo.listen(&["flights/*"]);
    let mut flights = HashSet::new();
    while flights.len() < 992 {
        let envelope = support::json(&listener.line());
        let data = &envelope["data"];
        assert_eq!(envelope["type"], "application/json");
        assert_eq!(data["run"], 1);
        let flight = data["flight"].as_str().unwrap().to_owned();
        assert_eq!(envelope["channel"], format!("flights/{flight}"));
        flights.insert(flight);
    }
}

#[test]
fn the_replay_begins_again_in_a_new_run() {
    // At this speed the day takes little more than its 1,041 steps.
    let demo = Server::start_with(&["demo", "--listen", "127.0.0.1:0", "--speed", "86400"]);
    let mut listener: Running = demo.listen(&["flights/UA1545-EWR"]);
    let mut run = || {
        support::json(&listener.line())["data"]["run"]
            .as_u64()
            .unwrap()
    };
    let first = run();
    loop {
        match run() {
            now if now == first => {}
            now => return assert_eq!(now, first + 1),
        }
    }
}
