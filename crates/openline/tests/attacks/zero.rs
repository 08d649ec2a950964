//! `0` is nothing, never everything.

use std::time::Duration;

use openline::{
    Backoff, Client, Config, Error, Event, Reconnecting, Server, Stream, Timeout, WebSocket,
};
use tokio::io::duplex;
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn nothing(_: WebSocket, _: http::Request<()>) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
async fn attack_14_a_server_for_no_connections_takes_none_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = Server::default().max_connections(0);
    let running = tokio::spawn(server.run(listener, std::future::pending(), nothing));
    let refused = openline::connect(&url).await;
    assert!(matches!(refused, Err(Error::Handshake { response, .. }) if response.status() == 503));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn attack_14_no_deadline_of_zero_is_for_ever() {
    let config = Config::default().handshake_timeout(Duration::ZERO);
    let began = Instant::now();
    for server in [true, false] {
        let (here, _there) = duplex(4096);
        let here = Stream::new(here);
        let result = match server {
            true => openline::Acceptor::default()
                .config(config.clone())
                .accept(here)
                .await
                .map(drop),
            false => Client::new("ws://x/")
                .unwrap()
                .config(config.clone())
                .connect_over(here)
                .await
                .map(drop),
        };
        assert!(
            matches!(result, Err(Error::Timeout(Timeout::Handshake))),
            "{result:?}"
        );
    }
    // Nobody answers at this address, which is set aside for documentation.
    let client = Client::new("ws://192.0.2.1/").unwrap().no_proxy();
    let result = client.connect_timeout(Duration::ZERO).connect().await;
    assert!(matches!(result, Err(Error::Connect { .. })), "{result:?}");
    // The clock of timers ticks by the millisecond.
    assert!(
        began.elapsed() <= Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn attack_14_a_server_without_grace_cuts_at_once_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::default().grace(Duration::ZERO);
    let hold = async |mut ws: WebSocket, _: http::Request<()>| {
        while ws.next().await.is_some() {}
        std::future::pending::<Result<(), Error>>().await
    };
    let running = tokio::spawn(server.run(listener, async move { drop(stopped.await) }, hold));
    let _silent = openline::connect(&url).await.unwrap();
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap(), 1);
}

#[tokio::test]
async fn attack_14_no_attempts_are_not_attempts_without_end_client() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(&format!("ws://{free}/")).unwrap();
    let mut ws = Reconnecting::new(client).backoff(Backoff::default().max_attempts(Some(0)));
    let mut tries = 0;
    while let Some(event) = ws.next().await {
        tries += usize::from(matches!(event, Event::Connecting { .. }));
    }
    assert_eq!(tries, 1);
}
