//! `serve` and `demo` as processes: addresses, the replay, and how they end.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;

use crate::support::{self, Running, Server, run, text};

#[test]
fn an_address_in_use_is_an_error() {
    let server = Server::start();
    for command in [&["serve", "--memory"][..], &["demo"]] {
        let output = run(&[command, &["--listen", server.address()]].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
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
    for command in [&["serve", "--memory"][..], &["demo"]] {
        for signal in ["TERM", "INT"] {
            let server = Server::start_with(&[command, &["--listen", "127.0.0.1:0"]].concat());
            server.running.signal(signal);
            assert_eq!(server.running.end().code(), Some(0), "{command:?} {signal}");
        }
    }
}

/// A request whose body has not come, which keeps the drain waiting.
fn held(server: &Server) -> TcpStream {
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
    stream
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let mut server = Server::start();
    let _held = held(&server);
    // Those that come with the first count with it.
    while !server.running.has_ended() {
        server.running.signal("TERM");
    }
    server.running.says("ended at once by a second signal");
    assert_eq!(server.running.end().code(), Some(1));
}

#[test]
fn signals_that_come_together_are_one() {
    let server = Server::start();
    let mut held = held(&server);
    // As `timeout` does, to the process and to its group; two of one name might be made one by the system.
    server.running.signals(&["TERM", "INT"]);
    // The drain has begun when nothing listens any more, and what is under way is still answered.
    while TcpStream::connect(server.address()).is_ok() {}
    held.write_all(b"hello").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut held, &mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.running.end().code(), Some(0));
}

/// `serve` with a socket that its supervisor has bound.
#[cfg(unix)]
fn supervised(listener: &std::net::TcpListener) -> Server {
    let args = [
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:1",
        "--drain",
        "5s",
    ];
    Server::started(Running::run(&mut support::supervised(listener, &args)))
}

#[cfg(unix)]
#[test]
fn a_second_server_takes_a_socket_over_and_no_connection_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let first = supervised(&listener);
    assert_eq!(first.address(), address, "the socket counts, not --listen");
    let (asked, stop) = (
        address.clone(),
        std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let stopped = std::sync::Arc::clone(&stop);
    let asking = std::thread::spawn(move || {
        let mut answers = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let mut stream = TcpStream::connect(&asked).expect("no connection is refused");
            write!(
                stream,
                "GET /healthz HTTP/1.1\r\nhost: {asked}\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
            answers += 1;
        }
        answers
    });
    first.running.signal("TERM");
    assert_eq!(first.running.end().code(), Some(0));
    let second = supervised(&listener);
    assert!(
        support::receipt(&run(&["publish", "a", "1", "--server", &second.url]))["cursor"]
            .is_string()
    );
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(asking.join().unwrap() > 0);
}

/// It would listen where nobody asked it to.
#[cfg(unix)]
#[test]
fn what_is_handed_over_and_is_no_listener_is_an_error() {
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3</dev/null"#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_openline")]);
    command.args(["serve", "--memory", "--listen", "127.0.0.1:0"]);
    let (status, log) = Running::run(&mut command).end_with_log();
    assert_eq!(status.code(), Some(1));
    let told = log.join("\n");
    assert!(told.contains("handed over (LISTEN_FDS)"), "{told}");
}

#[test]
fn a_log_that_no_terminal_shows_has_no_colours() {
    let mut command = support::command(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
    let mut running = Running::run(command.env("OPENLINE_LOG", "info"));
    running.line();
    let line = running.says("listening");
    assert!(!line.contains('\u{1b}'), "{line}");
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
