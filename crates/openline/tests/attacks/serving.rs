//! A whole server, among whose clients are attackers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use openline::{CloseCode, Error, Server, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::common::{REQUEST, frame, read_head};

async fn echo(mut ws: WebSocket, _: http::Request<()>) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

async fn start(
    server: Server,
) -> (
    std::net::SocketAddr,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<usize>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    (
        address,
        stop,
        tokio::spawn(server.run(listener, shutdown, echo)),
    )
}

/// A raw client on which the opening handshake is done.
async fn raw(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    stream
}

/// A frame that a parser threw at once ended the process, with all its connections.
#[tokio::test]
async fn attack_17_a_wrong_frame_ends_one_connection_and_no_other_server() {
    let (address, _stop, running) = start(Server::default()).await;
    let mut good = openline::connect(&format!("ws://{address}/"))
        .await
        .unwrap();
    for first in [0xb1, 0xd1, 0xc1, 0x83, 0x8b, 0x09, 0x80, 0xff] {
        let mut bad = raw(address).await;
        bad.write_all(&frame(true, first, b"x")).await.unwrap();
        let mut answer = [0; 4];
        bad.read_exact(&mut answer).await.unwrap();
        assert_eq!(
            (answer[0], u16::from_be_bytes([answer[2], answer[3]])),
            (0x88, 1002)
        );
        good.send("still here").await.unwrap();
        assert_eq!(
            good.next().await.unwrap().unwrap().as_text(),
            Some("still here")
        );
    }
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut bad = TcpStream::connect(address).await.unwrap();
        bad.write_all(garbage).await.unwrap();
        bad.shutdown().await.unwrap();
        bad.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert!(openline::connect(&format!("ws://{address}/")).await.is_ok());
    assert!(!running.is_finished());
}

/// Connections that come and go while all of them are told the end: none is told twice, and nobody's end disturbs another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attack_18_connections_that_go_during_the_goodbye_harm_nobody_server() {
    for _ in 0..10 {
        let (address, stop, running) = start(Server::default()).await;
        let url = format!("ws://{address}/");
        let mut staying = Vec::new();
        let mut going = Vec::new();
        for _ in 0..10 {
            staying.push(openline::connect(&url).await.unwrap());
            going.push(openline::connect(&url).await.unwrap());
        }
        let leave: Vec<_> = going
            .into_iter()
            .enumerate()
            .map(|(at, mut ws)| {
                tokio::spawn(async move {
                    if at % 2 == 0 {
                        drop(ws);
                    } else {
                        ws.close(CloseCode::NORMAL, "").await.unwrap();
                    }
                })
            })
            .collect();
        stop.send(()).unwrap();
        for ws in &mut staying {
            assert!(ws.next().await.is_none());
            let closed = ws.closed().unwrap();
            assert!(closed.clean);
            assert_eq!(closed.received.unwrap().code, CloseCode::GOING_AWAY);
        }
        for left in leave {
            left.await.unwrap();
        }
        assert_eq!(running.await.unwrap(), 0, "none had to be cut");
    }
}

/// Whatever way a request is written, it is looked at before it is answered.
#[tokio::test]
async fn attack_22_every_request_is_checked_before_its_101_server() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&seen);
    let server = Server::default().check(move |request| {
        counting.fetch_add(1, Ordering::SeqCst);
        let open = request.uri().path() == "/open";
        (!open).then(|| {
            http::Response::builder()
                .status(404)
                .body(String::new())
                .unwrap()
        })
    });
    let (address, _stop, _running) = start(server).await;
    let targets = [
        "/inner",
        "//open",
        "/open/",
        "/OPEN",
        "/%6fpen",
        "/x/../open",
        "http://x/inner",
        "*",
        "/?/open",
    ];
    for target in targets {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = REQUEST.replace("/chat", target);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.shutdown().await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), targets.len());
    assert!(
        openline::connect(&format!("ws://{address}/open"))
            .await
            .is_ok()
    );
}

/// A peer made a thread for each message. Here a connection is one task, whatever comes.
#[tokio::test]
async fn attack_27_a_connection_is_one_task_whatever_comes_server() {
    let (address, _stop, _running) = start(Server::default()).await;
    let mut stream = raw(address).await;
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let mut bytes = frame(true, 0x82, b"x").repeat(100);
    bytes.extend(frame(true, 0x89, b"").repeat(100));
    let mut answers = vec![0; 100 * 3 + 100 * 2];
    for _ in 0..50 {
        stream.write_all(&bytes).await.unwrap();
        let alive = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(alive, tasks);
        // Of many pings in one read, not each need be answered (RFC 6455 §5.5.3); messages must be.
        let mut echoes = 0;
        while echoes < 100 {
            let count = stream.read(&mut answers).await.unwrap();
            echoes += answers[..count]
                .iter()
                .filter(|byte| **byte == b'x')
                .count();
        }
    }
}
