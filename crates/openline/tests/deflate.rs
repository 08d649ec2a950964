//! Compression over real sockets: one setting on each side, and what each side sees.

use openline::{
    Acceptor, Broadcast, Client, Config, Deflate, Message, Takeover, Uncompressed, WebSocket,
};
use tokio::net::TcpListener;

fn config(deflate: Deflate) -> Config {
    Config::default().deflate(Some(deflate))
}

/// Two ends of one TCP connection, and the server's answer to the offer.
async fn pair(client: Config, server: Config) -> (WebSocket, WebSocket, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let acceptor = Acceptor::default().config(server);
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    };
    let client = Client::new(&url).unwrap().config(client).connect();
    let (connected, accepted) = tokio::join!(client, accept);
    let (ws, response) = connected.unwrap();
    let answer = response.headers().get("sec-websocket-extensions");
    let answer = answer.map(|line| line.to_str().unwrap().to_owned());
    (ws, accepted, answer)
}

async fn next(ws: &mut WebSocket) -> Message {
    ws.next().await.expect("open").expect("a message")
}

fn json(count: usize) -> String {
    (0..count)
        .map(|n| format!(r#"{{"flight":"UA{n}","status":"scheduled"}}"#))
        .collect()
}

#[tokio::test]
async fn messages_go_compressed_both_ways_and_come_out_whole() {
    let settings = [
        Deflate::default(),
        Deflate::default().takeover(Takeover::Never),
        Deflate::default()
            .client_max_window_bits(8)
            .server_max_window_bits(9),
    ];
    for deflate in settings {
        let (mut client, mut server, answer) = pair(config(deflate), config(deflate)).await;
        assert!(answer.unwrap().starts_with("permessage-deflate"));
        let echo = tokio::spawn(async move {
            while let Some(message) = server.next().await {
                server.send(message.unwrap()).await.unwrap();
            }
        });
        let mut length = 0;
        for count in [0, 1, 10, 100, 5_000] {
            let message = Message::from(json(count));
            length += message.as_bytes().len() as u64;
            client.send(message.clone()).await.unwrap();
            assert_eq!(next(&mut client).await, message, "{count} in {deflate:?}");
        }
        let traffic = client.traffic();
        assert!(
            traffic.sent < length / 3 && traffic.received < length / 3,
            "{traffic:?}"
        );
        client.close(openline::CloseCode::NORMAL, "").await.unwrap();
        echo.await.unwrap();
    }
}

#[tokio::test]
async fn what_one_side_does_not_want_is_not_used() {
    let with = config(Deflate::default());
    for (client, server) in [(with.clone(), Config::default()), (Config::default(), with)] {
        let (mut client, mut server, answer) = pair(client, server).await;
        assert_eq!(answer, None);
        let message = json(10);
        client.send(message.as_str()).await.unwrap();
        assert_eq!(next(&mut server).await.as_text(), Some(&*message));
        assert!(client.traffic().sent > message.len() as u64);
    }
}

#[tokio::test]
async fn chosen_messages_go_plain_and_shared_frames_compressed() {
    let (mut client, mut server, _) =
        pair(config(Deflate::default()), config(Deflate::default())).await;
    let message = json(100);
    let mut before = 0;
    let mut sent = |server: &WebSocket| {
        let now = server.traffic().sent;
        std::mem::replace(&mut before, now).abs_diff(now)
    };
    server.feed(Uncompressed(message.as_str())).unwrap();
    server.flush().await.unwrap();
    assert!(sent(&server) > message.len() as u64);
    server.feed(Broadcast::text(&message)).unwrap();
    server.feed(message.as_str()).unwrap();
    server.flush().await.unwrap();
    assert!(sent(&server) < message.len() as u64);

    // Halves compress alike.
    let (mut sender, mut receiver) = server.split();
    sender.feed(Uncompressed(message.as_str())).unwrap();
    sender.send(message.as_str()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(next(&mut client).await.as_text(), Some(&*message));
    }
    client.send(message.as_str()).await.unwrap();
    let heard = receiver.next().await.unwrap().unwrap();
    assert_eq!(heard.as_text(), Some(&*message));
}
