//! An echo server: `cargo run --release -p openline --example echo -- 127.0.0.1:9001`. In front of the address, `--deflate` has it
//! compress for clients that can read it, and `--allow-origin https://app.example` lets that site's pages in.

use openline::{Acceptor, Config, Deflate, Error, OriginPolicy, Server, WebSocket};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let deflate = arguments.next_if(|one| one == "--deflate").is_some();
    let mut origins = Vec::new();
    while arguments.next_if(|one| one == "--allow-origin").is_some() {
        origins.extend(arguments.next());
    }
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // Large messages may come in many small fragments, too.
    let config = Config::default()
        .max_message(64 << 20)
        .max_fragments(1 << 17)
        .deflate(deflate.then(|| Deflate::default().threshold(0)));
    let acceptor = Acceptor::default()
        .config(config)
        .origins(OriginPolicy::Also(origins));
    let listener = TcpListener::bind(&address).await?;
    let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
    Server::default()
        .acceptor(acceptor)
        .max_connections(100_000)
        .run(listener, ctrl_c, |ws, _| echo(ws))
        .await;
    Ok(())
}

/// Messages are lent, not copied; errors end this connection only, and the peer was told of them by a Close frame.
///
/// What is alive while it waits is what an idle connection takes: the message of the last turn is not.
async fn echo(ws: WebSocket) -> Result<(), Error> {
    let (mut sender, mut receiver) = ws.split();
    loop {
        let Some(message) = receiver.next_lent().await.transpose()? else {
            return Ok(());
        };
        sender.send(message).await?;
    }
}
