//! `publish` and `listen` against a real server, over every transport.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use crate::support::{self, Running, Server, WAYS, receipt, run, run_with, text};
use serde_json::{Value, json};

/// Polls often, so that tests end soon.
fn arguments<'a>(channel: &'a str, way: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![channel, "--via", way];
    if way == "poll" {
        args.extend(["--interval", "0.05"]);
    }
    args.extend(more);
    args
}

/// The bodies of lines: Server-Sent Events of one channel bring each as a string.
fn data(line: &str) -> Value {
    let envelope = support::json(line);
    envelope
        .get("data")
        .or(envelope.get("base64"))
        .unwrap()
        .clone()
}

#[test]
fn what_is_published_is_heard_over_every_transport() {
    let server = Server::start();
    for way in WAYS {
        let channel = format!("news/{way}");
        let mut listener = server.listen(&arguments(&channel, way, &["--count", "3"]));
        let at = ["--server", &server.url];
        let cursors = [
            run(&[&["publish", &channel, "caf\u{e9}"], &at[..]].concat()),
            run(&[
                &[
                    "publish",
                    &channel,
                    "{\"n\": 1}",
                    "--content-type",
                    "application/json",
                ],
                &at[..],
            ]
            .concat()),
            run_with(
                &[&["publish", &channel, "-"], &at[..]].concat(),
                b"\x00\xff\n",
            ),
        ]
        .map(|output| receipt(&output)["cursor"].clone());
        let lines = listener.rest();
        assert_eq!(listener.end().code(), Some(0));

        let envelopes: Vec<Value> = lines.iter().map(|line| support::json(line)).collect();
        let seen: Vec<&Value> = envelopes
            .iter()
            .map(|envelope| &envelope["cursor"])
            .collect();
        assert_eq!(seen, cursors.iter().collect::<Vec<_>>(), "{way}");
        assert!(
            envelopes
                .iter()
                .all(|envelope| envelope["channel"] == *channel),
            "{way}"
        );
        let number = if way == "sse" {
            json!("{\"n\": 1}")
        } else {
            json!({"n": 1})
        };
        let bodies: Vec<Value> = lines.iter().map(|line| data(line)).collect();
        assert_eq!(bodies, [json!("caf\u{e9}"), number, json!("AP8K")], "{way}");
        assert!(envelopes[2].get("base64").is_some(), "{way}");
        if way != "sse" {
            let types: Vec<&Value> = envelopes.iter().map(|envelope| &envelope["type"]).collect();
            let expected = [
                "text/plain; charset=utf-8",
                "application/json",
                "application/octet-stream",
            ];
            assert_eq!(types, expected, "{way}");
        }
    }
}

#[test]
fn a_listener_begins_with_the_latest() {
    let server = Server::start();
    server.publish("a", "old");
    server.publish("a", "new");
    for way in WAYS {
        for since in [&[][..], &["--since", ""]] {
            let args = arguments("a", way, &[since, &["--count", "1"]].concat());
            let mut listener = server.listen(&args);
            assert_eq!(data(&listener.line()), "new", "{way}");
            assert_eq!(listener.end().code(), Some(0));
        }
    }
}

#[test]
fn a_cursor_brings_exactly_what_came_after_it() {
    let server = Server::start();
    let cursor = server.publish("a", "1");
    server.publish("other", "not this");
    server.publish("a", "2");
    server.publish("a", "3");
    for way in WAYS {
        let args = arguments("a", way, &["--since", &cursor, "--count", "2"]);
        let mut listener = server.listen(&args);
        listener.says("recovered: nothing was lost");
        let bodies: Vec<Value> = listener.rest().iter().map(|line| data(line)).collect();
        assert_eq!(bodies, ["2", "3"], "{way}");
    }
}

#[test]
fn a_cursor_of_another_log_is_a_gap() {
    let server = Server::start();
    server.publish("a", "latest");
    for way in WAYS {
        let args = arguments("a", way, &["--since", "zzzzzzzzzzzz:7", "--count", "1"]);
        let mut listener = server.listen(&args);
        listener.says("GAP");
        assert_eq!(data(&listener.line()), "latest", "{way}");
    }
}

#[test]
fn a_malformed_cursor_is_refused() {
    let server = Server::start();
    for way in WAYS {
        let args = [
            "listen",
            "a",
            "--server",
            &server.url,
            "--via",
            way,
            "--since",
            "yesterday",
        ];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1), "{way}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("400 Bad Request: "), "{way}: {stderr}");
    }
}

#[test]
fn a_pattern_hears_many_channels_with_one_cursor() {
    let server = Server::start();
    let cursor = server.publish("flights/A", "1");
    server.publish("flights/B", "2");
    server.publish("elsewhere", "no");
    server.publish("flights/A", "3");
    for way in WAYS {
        let args = arguments("flights/*", way, &["--since", &cursor, "--count", "2"]);
        let mut listener = server.listen(&args);
        let lines = listener.rest();
        let seen: Vec<(Value, Value)> = lines
            .iter()
            .map(|line| (support::json(line)["channel"].clone(), data(line)))
            .collect();
        let expected = [("flights/B", "2"), ("flights/A", "3")];
        assert_eq!(
            seen,
            expected.map(|(channel, body)| (json!(channel), json!(body))),
            "{way}"
        );
    }
}

#[test]
fn a_listener_comes_back_when_the_server_does() {
    for way in WAYS {
        let server = Server::start();
        server.publish("a", "before");
        let mut listener = server.listen(&arguments("a", way, &["--count", "2"]));
        assert_eq!(data(&listener.line()), "before");

        let address = server.address().to_owned();
        server.running.signal("TERM");
        assert_eq!(server.running.end().code(), Some(0), "{way}");
        listener.says("reconnecting in");
        let server = Server::start_with(&["serve", "--memory", "--listen", &address]);
        listener.says("connected to");
        // The new server's log is another one, which the listener is told.
        listener.says("GAP");
        server.publish("a", "after");
        assert_eq!(data(&listener.line()), "after", "{way}");
        assert_eq!(listener.end().code(), Some(0), "{way}");
    }
}

#[test]
fn a_signal_ends_a_listener_well() {
    let server = Server::start();
    for way in WAYS {
        for signal in ["TERM", "INT"] {
            let listener = server.listen(&arguments("a", way, &[]));
            listener.signal(signal);
            assert_eq!(listener.end().code(), Some(0), "{way} {signal}");
        }
    }
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let server = Server::start();
    let mut listener = support::command(&["listen", "a", "--server", &server.url])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(listener.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("connected to"), "{said}");
    drop(listener.stdout.take());
    server.publish("a", "nobody reads this");
    assert_eq!(listener.wait().unwrap().code(), Some(0));
    stderr.read_to_string(&mut said).unwrap();
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn a_body_from_a_pipe_is_published_as_it_is() {
    let server = Server::start();
    let at = ["publish", "a", "--server", &server.url];
    receipt(&run_with(&at, b"piped\n"));
    let mut listener = server.listen(&["a", "--count", "1"]);
    let envelope = support::json(&listener.line());
    assert_eq!(envelope["data"], "piped\n");
    assert_eq!(envelope["type"], "text/plain; charset=utf-8");
}

#[test]
fn an_idempotency_key_publishes_once() {
    let server = Server::start();
    let publish = |body| {
        run(&[
            "publish",
            "a",
            body,
            "--idempotency-key",
            "k1",
            "--server",
            &server.url,
        ])
    };
    let first = receipt(&publish("x"));
    assert_eq!(receipt(&publish("x")), first);
    let other = publish("y");
    assert_eq!(other.status.code(), Some(1));
    let stderr = text(&other.stderr);
    assert!(stderr.contains("422"), "{stderr}");
    assert!(
        stderr.contains("hint: leave --idempotency-key away"),
        "{stderr}"
    );
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let server = Server::start();
    let body = vec![b'x'; 300_000];
    let output = run_with(&["publish", "a", "-", "--server", &server.url], &body);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("413"), "{stderr}");
}

#[test]
fn bad_json_is_refused_with_the_reason() {
    let server = Server::start();
    let args = [
        "publish",
        "a",
        "{",
        "--content-type",
        "application/json",
        "--server",
        &server.url,
    ];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("400 Bad Request: "), "{stderr}");
}

#[test]
fn the_listener_of_a_full_channel_catches_up_page_by_page() {
    let server = Server::start();
    let first = server.publish("many/0", "0");
    let feeder: Vec<String> = (1..=130).map(|n| format!("many/{n}")).collect();
    for channel in &feeder {
        post(&server, channel);
    }
    for way in ["poll", "long-poll", "stream"] {
        let args = arguments("many/*", way, &["--since", &first, "--count", "130"]);
        let mut listener: Running = server.listen(&args);
        let seen: Vec<Value> = listener
            .rest()
            .iter()
            .map(|line| support::json(line)["channel"].clone())
            .collect();
        assert_eq!(
            seen,
            feeder
                .iter()
                .map(|channel| json!(channel))
                .collect::<Vec<_>>(),
            "{way}"
        );
    }
}

/// Publishes without a process for each, for tests that need many.
fn post(server: &Server, channel: &str) {
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    write!(
        stream,
        "POST /channels/{channel} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
        server.address()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn a_server_that_speaks_tls_is_not_asked_again_without_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        // An alert, since no TLS came.
        stream.write_all(&[21, 3, 3, 0, 2, 2, 70]).unwrap();
        stream.read_to_end(&mut Vec::new())
    });
    let output = run(&["publish", "a", "x", "--server", &url]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(!stderr.contains("trying again"), "{stderr}");
    assert!(
        stderr.contains("hint: no HTTP is spoken there; if that is TLS, try https://"),
        "{stderr}"
    );
    asked.join().unwrap().unwrap();
}
