//! What a handler has sent leaves, whatever it does next: wait, end, or be dropped.

use std::future::pending;
use std::time::Duration;

use openline::{
    Client, CloseCode, Config, Error, Message, SendError, Server, Timeout, WebSocket, corked,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// A server whose connections run `handler`, by the library; its address.
async fn serve<F>(
    config: Config,
    handler: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
) -> String
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let acceptor = openline::Acceptor::default().config(config);
    let server = Server::default().acceptor(acceptor);
    tokio::spawn(server.run(listener, pending(), move |ws, _| handler(ws)));
    url
}

async fn text(ws: &mut WebSocket) -> String {
    let message = ws.next().await.expect("open").expect("a message");
    message.as_text().expect("text").to_owned()
}

#[tokio::test]
async fn a_handler_that_sends_and_then_waits_for_something_else_has_sent() {
    let url = serve(Config::default(), async |mut ws: WebSocket| {
        ws.send("before the wait").await?;
        pending::<()>().await;
        Ok(())
    })
    .await;
    assert_eq!(
        text(&mut openline::connect(&url).await.unwrap()).await,
        "before the wait"
    );

    // Within a select, in a join, from a sender that was given away, and a broadcast.
    let url = serve(Config::default(), async |ws: WebSocket| {
        let (mut sender, mut receiver) = ws.split();
        let mut clone = sender.clone();
        let give = async {
            clone.send("one").await?;
            pending::<Result<(), Error>>().await
        };
        let take = async {
            while let Some(message) = receiver.next().await {
                tokio::select! {
                    sent = sender.send(message?) => sent?,
                    () = pending() => {}
                }
                sleep(Duration::from_secs(3600)).await;
            }
            Ok::<_, Error>(())
        };
        tokio::try_join!(give, take)?;
        Ok(())
    })
    .await;
    let mut ws = openline::connect(&url).await.unwrap();
    assert_eq!(text(&mut ws).await, "one");
    ws.send("two").await.unwrap();
    assert_eq!(text(&mut ws).await, "two");
}

#[tokio::test]
async fn a_task_of_ones_own_that_runs_corked_has_sent_when_it_waits() {
    let (mut client, mut server) = WebSocket::pair();
    let task = tokio::spawn(corked(async move {
        server.send("one").await?;
        server.send("two").await?;
        tokio::task::yield_now().await;
        server.send("three").await?;
        pending::<()>().await;
        Ok::<_, Error>(())
    }));
    for expected in ["one", "two", "three"] {
        assert_eq!(text(&mut client).await, expected);
    }
    task.abort();
}

#[tokio::test]
async fn a_handler_that_ends_has_its_connection_closed_behind_what_it_sent() {
    let url = serve(Config::default(), async |mut ws: WebSocket| {
        ws.send("farewell").await
    })
    .await;
    let mut ws = openline::connect(&url).await.unwrap();
    assert_eq!(text(&mut ws).await, "farewell");
    assert!(ws.next().await.is_none());
    let closed = ws.closed().unwrap();
    assert!(closed.clean && closed.by_peer);
    assert_eq!(closed.code(), CloseCode::NORMAL);

    let url = serve(Config::default(), async |mut ws: WebSocket| {
        ws.send("a mistake").await?;
        Err(Error::NotConnected)
    })
    .await;
    let mut ws = openline::connect(&url).await.unwrap();
    assert_eq!(text(&mut ws).await, "a mistake");
    assert!(ws.next().await.is_none());
    assert_eq!(ws.closed().unwrap().code(), CloseCode::INTERNAL);
}

#[tokio::test]
async fn what_a_dropped_connection_had_sent_arrives_though_the_peer_reads_late() {
    const SIZE: usize = 16 << 20;
    let (done, ended) = oneshot::channel::<()>();
    let done = std::sync::Arc::new(std::sync::Mutex::new(Some(done)));
    let config = Config::default().close_timeout(Duration::from_secs(60));
    let url = serve(config, move |mut ws: WebSocket| {
        let done = done.clone();
        async move {
            // More than the socket takes: it is dropped with most of it unsent.
            ws.feed(vec![7; SIZE])?;
            let done = done.lock().unwrap().take();
            done.map(|done| done.send(()));
            Ok(())
        }
    })
    .await;
    let config = Config::default().max_message(SIZE);
    let client = Client::new(&url).unwrap().config(config);
    let (mut ws, _) = client.connect().await.unwrap();
    ended.await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_bytes().len(), SIZE);
    assert!(ws.next().await.is_none());
    assert!(ws.closed().unwrap().clean);
}

#[tokio::test]
async fn without_a_handler_too() {
    let (here, mut there) = duplex(1000);
    let mut ws = WebSocket::server(here, Default::default());
    ws.feed(vec![7; 100_000]).unwrap();
    drop(ws);
    let mut bytes = Vec::new();
    there.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), 100_000 + 10);
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_never_takes_is_given_up_at_the_close_deadline() {
    let (here, there) = duplex(1000);
    let mut ws = WebSocket::server(here, Default::default());
    ws.feed(vec![7; 100_000]).unwrap();
    let began = Instant::now();
    drop(ws);
    // The transport is dropped: what it had taken is all that comes.
    let mut rest = Vec::new();
    sleep(Duration::from_secs(6)).await;
    let mut there = there;
    there.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 1000);
    assert!(began.elapsed() < Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_corked_task_that_waits_keeps_the_write_deadline() {
    let (here, mut there) = duplex(1000);
    let (mut sender, mut receiver) = WebSocket::server(here, Default::default()).split();
    let (sent, waits) = oneshot::channel();
    tokio::spawn(corked(async move {
        sender.send(vec![7; 50_000]).await.unwrap();
        sent.send(()).unwrap();
        sleep(Duration::from_secs(3600)).await;
        let late = sender.send("late").await;
        assert!(matches!(late, Err(Error::Send(SendError::Closing))));
    }));
    waits.await.unwrap();
    let began = Instant::now();
    let ended = timeout(Duration::from_secs(3600), receiver.next()).await;
    let error = ended.expect("it hangs").expect("an error");
    assert!(
        matches!(
            error,
            Err(Error::Timeout(Timeout::Write) | Error::Disconnected)
        ),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 60);
    let mut taken = vec![0; 1000];
    there.read_exact(&mut taken).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_gets_all_while_the_corked_task_waits_for_something_else() {
    let (here, mut there) = duplex(1000);
    let mut ws = WebSocket::server(here, Default::default());
    let task = tokio::spawn(corked(async move {
        for _ in 0..50 {
            ws.send(vec![7; 1000]).await?;
        }
        pending::<()>().await;
        Ok::<_, Error>(())
    }));
    let mut bytes = vec![0; 50 * 1004];
    there.read_exact(&mut bytes).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn what_a_panicking_handler_had_sent_leaves() {
    let (mut client, mut server) = WebSocket::pair();
    let task = tokio::spawn(corked(async move {
        server.send("last words").await.unwrap();
        let _server = server;
        panic!("on purpose");
    }));
    assert_eq!(text(&mut client).await, "last words");
    assert!(task.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_peer_that_is_gone_ends_a_corked_echo() {
    let url = serve(Config::default(), async |mut ws: WebSocket| {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok(())
    })
    .await;
    // The server goes on for others after one that was reset in the middle of its echoes.
    for _ in 0..3 {
        let address = url.trim_start_matches("ws://").trim_end_matches('/');
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp.write_all(b"\x82\xfe\x03\xe8\0\0\0\0").await.unwrap();
        tcp.write_all(&[7; 1000]).await.unwrap();
        drop(tcp);
    }
    let mut ws = openline::connect(&url).await.unwrap();
    ws.send("still there").await.unwrap();
    assert_eq!(
        ws.next().await.unwrap().unwrap(),
        Message::from("still there")
    );
}
