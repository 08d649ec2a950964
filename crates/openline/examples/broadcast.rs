//! One stream of news for everybody: each message is encoded once, and compressed once for all who can read it so.
//!
//! `cargo run -p openline --example broadcast -- 127.0.0.1:9001`, then connect with as many clients as you like, and type.

use std::io::Write as _;

use openline::{Acceptor, Broadcast, Config, Deflate, Error, Server, Takeover, WebSocket};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address).await?;
    let (news, _) = broadcast::channel(64);

    // Connections that keep no compression context are the cheapest to broadcast to.
    let deflate = Deflate::default().takeover(Takeover::Never);
    let acceptor = Acceptor::default().config(Config::default().deflate(Some(deflate)));
    let subscribe = {
        let news = news.clone();
        move |ws, _| follow(ws, news.subscribe())
    };
    let typed = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let heard = news.send(Broadcast::text(&line)).unwrap_or(0);
            let _ = writeln!(std::io::stderr(), "{heard} are told");
        }
    };
    Server::default()
        .acceptor(acceptor)
        .run(listener, typed, subscribe)
        .await;
    Ok(())
}

/// Sends what is news until the client leaves. One who is 64 messages behind is left out of what it missed.
async fn follow(mut ws: WebSocket, mut news: broadcast::Receiver<Broadcast>) -> Result<(), Error> {
    loop {
        tokio::select! {
            message = ws.next() => match message {
                Some(message) => drop(message?), // what clients say is of no interest
                None => return Ok(()),
            },
            item = news.recv() => match item {
                Ok(item) => ws.send(&item).await?,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}
