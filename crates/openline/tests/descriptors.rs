//! What a process has open, which is why this test has one for itself.
#![cfg(target_os = "linux")]

mod common;

use std::fs::read_dir;

use common::{REQUEST, frame, read_head};
use openline::{Error, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

fn open() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// Serves a few connections, echoes on each, and drops the runtime while they are idle.
fn serve_and_drop(mut runtime: Builder) {
    let runtime = runtime.enable_all().build().unwrap();
    let clients = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending();
        tokio::spawn(Server::default().run(listener, never, async |mut ws, _| {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            Ok::<_, Error>(())
        }));
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST.as_bytes()).await.unwrap();
            read_head(&mut client).await;
            client.write_all(&frame(true, 0x82, b"!")).await.unwrap();
            client.read_exact(&mut [0; 3]).await.unwrap();
            clients.push(client.into_std().unwrap());
        }
        clients
    });
    drop(runtime);
    for mut client in clients {
        client.set_nonblocking(false).unwrap();
        let left = std::io::Read::read(&mut client, &mut [0; 8]);
        assert!(matches!(left, Ok(0) | Err(_)), "{left:?}");
    }
}

#[test]
fn nothing_is_left_open_by_connections_that_were_idle_when_their_runtime_ended() {
    serve_and_drop(Builder::new_current_thread());
    let before = open();
    for _ in 0..3 {
        serve_and_drop(Builder::new_current_thread());
        serve_and_drop(Builder::new_multi_thread());
    }
    assert_eq!(open(), before);
}
