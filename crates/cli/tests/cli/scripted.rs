//! `publish` and `listen` against servers that misbehave on purpose.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::support::{Running, run, text};

const BUSY: &str =
    "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Answers one connection after the other, then is gone. Gives the heads of the requests.
fn scripted<S: AsRef<str> + Send + 'static>(answers: Vec<S>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let answer = |answer: S| {
            let (mut stream, _) = listener.accept().unwrap();
            let head = request(&stream);
            stream.write_all(answer.as_ref().as_bytes()).unwrap();
            head
        };
        answers.into_iter().map(answer).collect()
    });
    (url, served)
}

/// Reads a whole request, so that closing the connection does not reset it, and gives its head in lower case.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let head = head.to_lowercase();
    if let Some(length) = field(&head, "content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
    }
    head
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// An NDJSON answer that ends after these lines.
fn stream_of(lines: &[&str]) -> String {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n{body}"
    )
}

fn envelope(cursor: &str) -> String {
    format!(r#"{{"channel":"a","cursor":"{cursor}","type":"text/plain","data":"{cursor}"}}"#)
}

#[test]
fn a_busy_or_broken_server_is_sent_the_same_key_again() {
    let created = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let (url, served) = scripted(vec![BUSY, "", created]);
    let output = run(&["publish", "a", "x", "--server", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "{}\n");
    let heads = served.join().unwrap();
    let keys: Vec<_> = heads
        .iter()
        .map(|head| field(head, "idempotency-key").unwrap())
        .collect();
    assert_eq!(keys, [keys[0]; 3]);
    assert_eq!(keys[0].len(), 32);
}

#[test]
fn a_publication_that_is_refused_is_not_tried_again() {
    let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (url, served) = scripted(vec![forbidden]);
    let output = run(&["publish", "a", "x", "--server", &url]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: the server answered 403 Forbidden\n"),
        "{stderr}"
    );
    assert!(
        stderr.contains("\n\nhint: is it an Openline server"),
        "{stderr}"
    );
    assert_eq!(served.join().unwrap().len(), 1);
}

#[test]
fn a_listener_resumes_where_it_was_cut_and_prints_nothing_twice() {
    let (url, served) = scripted(vec![
        stream_of(&[
            r#"{"cursor":"e:0","recovered":true}"#,
            &envelope("e:1"),
            &envelope("e:2"),
        ]),
        BUSY.to_owned(),
        stream_of(&[r#"{"cursor":"e:2","recovered":true}"#, "", &envelope("e:3")]),
        // The latest after a gap is one that was printed already.
        stream_of(&[
            r#"{"cursor":"e:2","recovered":false}"#,
            &envelope("e:3"),
            &envelope("e:9"),
        ]),
    ]);
    let args = [
        "listen", "a", "--via", "stream", "--server", &url, "--count", "4",
    ];
    let mut listener = Running::start(&args);
    assert_eq!(listener.rest(), ["e:1", "e:2", "e:3", "e:9"].map(envelope));
    listener.says("GAP");
    assert_eq!(listener.end().code(), Some(0));
    let heads = served.join().unwrap();
    let targets: Vec<_> = heads
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            "/channels/a",
            "/channels/a?since=e%3a2",
            "/channels/a?since=e%3a2",
            "/channels/a?since=e%3a3",
        ]
    );
}

#[test]
fn a_listener_waits_for_a_server_that_is_busy_from_the_start() {
    let ready = stream_of(&[r#"{"cursor":"e:0","recovered":true}"#, &envelope("e:1")]);
    let (url, served) = scripted(vec![BUSY.to_owned(), ready]);
    let args = [
        "listen", "a", "--via", "stream", "--server", &url, "--count", "1",
    ];
    let mut listener = Running::start(&args);
    let busy = listener.says("reconnecting in");
    assert!(busy.starts_with("the server answered 503"), "{busy}");
    assert_eq!(listener.rest(), [envelope("e:1")]);
    served.join().unwrap();
}

#[test]
fn a_listener_stops_at_what_is_not_openline() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<p>hello";
    let wrong_json = stream_of(&["{\"hello\":1}"]);
    for answer in [html, &wrong_json] {
        let (url, served) = scripted(vec![answer.to_owned()]);
        let output = run(&["listen", "a", "--via", "stream", "--server", &url]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(
            stderr.contains("hint: is it an Openline server"),
            "{stderr}"
        );
        served.join().unwrap();
    }
}

/// Opens a WebSocket for each of `codes`, sends one envelope on it, and closes it with the code.
fn closing_with(codes: Vec<u16>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let served = std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = openline::Acceptor::default().subprotocol("openline.v1");
            for (number, code) in (1..).zip(codes) {
                let (stream, _) = listener.accept().await.unwrap();
                let mut socket = acceptor.accept(stream).await.unwrap();
                socket
                    .send(r#"{"cursor":"e:0","recovered":true}"#)
                    .await
                    .unwrap();
                socket.send(envelope(&format!("e:{number}"))).await.unwrap();
                socket
                    .close(openline::CloseCode(code), "so it is")
                    .await
                    .unwrap();
            }
        });
    });
    (url, served)
}

#[test]
fn a_close_code_tells_a_listener_whether_to_come_back() {
    let (url, served) = closing_with(vec![1012, 1013, 1001, 1008]);
    let mut listener = Running::start(&["listen", "a", "--server", &url]);
    assert_eq!(listener.rest(), ["e:1", "e:2", "e:3", "e:4"].map(envelope));
    for code in [1012, 1013, 1001] {
        let said = listener.says("reconnecting in");
        assert!(
            said.contains(&format!("with code {code}: so it is; ")),
            "{said}"
        );
    }
    listener.says("error: the server closed the connection with code 1008: so it is");
    listener.says("hint: the server does not let this client listen here");
    assert_eq!(listener.end().code(), Some(1));
    served.join().unwrap();
}

#[test]
fn a_server_without_the_subprotocol_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let mut socket = openline::accept(stream).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        });
    });
    let output = run(&["listen", "a", "--server", &url]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("does not speak the WebSocket subprotocol openline.v1"),
        "{stderr}"
    );
    served.join().unwrap();
}
