//! The whole server: admission, checks, and a graceful end.

mod common;

use openline::{Acceptor, Client, CloseCode, Config, Error, Message, Server, Stream, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

async fn echo(mut ws: WebSocket, _: http::Request<()>) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

async fn start(server: Server) -> (String, oneshot::Sender<()>, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    (
        url,
        stop,
        tokio::spawn(server.run(listener, shutdown, echo)),
    )
}

#[tokio::test]
async fn it_ends_by_closing_every_connection_with_the_code_asked_for() {
    let (url, stop, running) =
        start(Server::default().goodbye(CloseCode::RESTART, "back soon")).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut ws = openline::connect(&url).await.unwrap();
        ws.send("hello").await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("hello"));
        clients.push(ws);
    }
    stop.send(()).unwrap();
    for mut ws in clients {
        assert!(ws.next().await.is_none());
        let closed = ws.closed().unwrap();
        assert!(closed.clean && closed.by_peer);
        assert_eq!(closed.received.unwrap().to_string(), "1012 (back soon)");
    }
    assert_eq!(running.await.unwrap(), 0, "none had to be cut");
    assert!(matches!(
        openline::connect(&url).await,
        Err(Error::Connect { .. })
    ));
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_goodbye_is_cut_by_the_close_timeout_or_the_grace() {
    let (url, stop, running) =
        start(Server::default().grace(std::time::Duration::from_millis(50))).await;
    let silent = openline::connect(&url).await.unwrap(); // it is never read again
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap(), 1);
    drop(silent);
}

#[tokio::test]
async fn connections_past_the_limit_are_told_when_to_come_back() {
    let (url, _stop, _running) = start(
        Server::default()
            .max_connections(1)
            .retry_after(std::time::Duration::from_secs(7)),
    )
    .await;
    let mut first = openline::connect(&url).await.unwrap();
    let Err(Error::Handshake { response, .. }) = openline::connect(&url).await else {
        panic!("accepted")
    };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");
    // A place that is given back is taken again.
    first.close(CloseCode::NORMAL, "").await.unwrap();
    loop {
        match openline::connect(&url).await {
            Ok(_) => break,
            Err(Error::Handshake { response, .. }) if response.status() == 503 => {
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_request_is_checked_before_it_is_answered() {
    let server = Server::default().check(|request| match request.headers().get("authorization") {
        Some(token) if token == "Bearer right" => None,
        _ => http::Response::builder()
            .status(401)
            .body("who are you?".to_owned())
            .ok(),
    });
    let (url, _stop, _running) = start(server).await;
    let Err(Error::Handshake { response, .. }) = openline::connect(&url).await else {
        panic!("accepted")
    };
    assert_eq!(
        (response.status().as_u16(), &response.body()[..]),
        (401, &b"who are you?"[..])
    );
    let right = http::HeaderValue::from_static("Bearer right");
    let client = Client::new(&url)
        .unwrap()
        .header(http::header::AUTHORIZATION, right);
    assert!(client.connect().await.is_ok());
}

#[tokio::test]
async fn http_1_0_opens_nothing() {
    let (url, _stop, _running) = start(Server::default()).await;
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = common::REQUEST.replace("HTTP/1.1", "HTTP/1.0");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn attack_30_tls_and_the_request_share_one_deadline_server() {
    use openline::tls::rustls::pki_types::PrivateKeyDer;
    use openline::tls::{ServerConfig, Setup, TlsAcceptor, rustls::crypto::ring};
    use std::sync::Arc;

    /// A client that is there already, and no other.
    struct Once(Option<Stream>);

    impl openline::Listener for Once {
        async fn accept(&mut self) -> std::io::Result<Stream> {
            match self.0.take() {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            }
        }
    }

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let trusting = Setup::default()
        .trust_only(made.cert.pem().as_bytes())
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting.build().unwrap()));

    let (here, there) = tokio::io::duplex(1 << 16);
    let server = Server::default()
        .tls(TlsAcceptor::from(Arc::new(config)))
        .acceptor(
            Acceptor::default()
                .config(Config::default().handshake_timeout(std::time::Duration::from_secs(10))),
        );
    let listener = Once(Some(Stream::new(there)));
    let running = tokio::spawn(server.run(listener, std::future::pending(), echo));
    let began = tokio::time::Instant::now();
    // Slow at TLS, and then without a request.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, here).await.unwrap();
    assert!(!matches!(stream.read(&mut [0]).await, Ok(1..)));
    assert_eq!(began.elapsed().as_secs(), 10);
    running.abort();
}

#[tokio::test]
async fn it_serves_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("openline-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = Server::default().acceptor(Acceptor::default().config(Config::default()));
    let running = tokio::spawn(server.run(listener, std::future::pending(), echo));
    let stream = UnixStream::connect(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let (mut ws, _) = Client::new("ws://localhost/")
        .unwrap()
        .connect_over(Stream::new(stream))
        .await
        .unwrap();
    ws.send("by a path").await.unwrap();
    assert_eq!(
        ws.next().await.unwrap().unwrap().as_text(),
        Some("by a path")
    );
    running.abort();
}

/// A server that runs `handler`; its address.
async fn run<F>(handler: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output: openline::Outcome> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let handler = move |ws, _| handler(ws);
    tokio::spawn(Server::default().run(listener, std::future::pending(), handler));
    url
}

/// A client of a server whose handler gives a part of its connection away and returns; and that part.
async fn given<T: Send + 'static>(part: fn(WebSocket) -> T) -> (WebSocket, T) {
    let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
    let url = run(move |ws| {
        let give = give.clone();
        async move { drop(give.send(part(ws))) }
    })
    .await;
    let ws = openline::connect(&url).await.unwrap();
    (ws, given.recv().await.unwrap())
}

#[tokio::test]
async fn a_handler_that_leaves_a_sender_behind_has_its_connection_closed_all_the_same() {
    let (mut ws, mut sender) = given(|ws| ws.split().0).await;
    assert!(ws.next().await.is_none());
    let closed = ws.closed().unwrap();
    assert!(closed.clean && closed.by_peer);
    assert_eq!(closed.code(), CloseCode::NORMAL);
    assert!(matches!(
        sender.send("late").await,
        Err(Error::Send(openline::SendError::Closing))
    ));
    assert_eq!(
        sender.closed().unwrap().sent.unwrap().code,
        CloseCode::NORMAL
    );
}

#[tokio::test]
async fn a_handler_that_gives_its_receiver_away_has_it_see_the_close() {
    let (mut ws, mut receiver) = given(|ws| ws.split().1).await;
    let (ours, theirs) = tokio::join!(ws.next(), receiver.next());
    assert!(ours.is_none() && theirs.is_none());
    assert!(ws.closed().unwrap().clean && receiver.closed().unwrap().clean);
}

#[tokio::test]
async fn a_handler_that_lets_go_of_its_connection_and_goes_on_has_it_closed() {
    let url = run(async |ws: WebSocket| {
        drop(ws);
        std::future::pending::<()>().await;
    })
    .await;
    let mut ws = openline::connect(&url).await.unwrap();
    assert!(ws.next().await.is_none());
    assert_eq!(ws.closed().unwrap().code(), CloseCode::NORMAL);
}

/// Nobody receives on it, and the handler only sends: what was queued before the goodbye still arrives, though all ends then.
#[tokio::test]
async fn the_server_waits_for_what_a_handler_without_its_receiver_has_queued() {
    const LONG: usize = 32 << 20;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = async |ws: WebSocket, _: http::Request<()>| {
        let (mut sender, receiver) = ws.split();
        drop(receiver);
        sender.feed(vec![7; LONG])?;
        while sender.closed().is_none() {
            tokio::task::yield_now().await;
        }
        sender.send("late").await
    };
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let shutdown = async move { drop(stopped.await) };
            Server::default().run(listener, shutdown, handler).await
        })
    });
    let config = Config::default().max_message(LONG);
    let client = Client::new(&url).unwrap().config(config);
    let (mut ws, _) = client.connect().await.unwrap();
    stop.send(()).unwrap();
    let message = ws.next().await.unwrap().unwrap();
    assert_eq!(message.as_bytes().len(), LONG);
    assert!(ws.next().await.is_none());
    assert_eq!(ws.closed().unwrap().code(), CloseCode::GOING_AWAY);
    assert_eq!(serving.join().unwrap(), 0, "none had to be cut");
}
