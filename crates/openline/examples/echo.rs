//! An echo server: `cargo run --release -p openline --example echo -- 127.0.0.1:9001`. With `--deflate` in front of the address
//! it compresses for clients that can read it.

use openline::{Acceptor, Config, Deflate, Error, WebSocket};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let deflate = arguments.next_if(|first| first == "--deflate").is_some();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // Large messages may come in many small fragments, too.
    let config = Config::default()
        .max_message(64 << 20)
        .max_fragments(1 << 17)
        .deflate(deflate.then(|| Deflate::default().threshold(0)));
    let acceptor = Acceptor::default().config(config);
    let listener = TcpListener::bind(&address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Errors end this connection only; the peer was told of them by a Close frame.
            if let Ok(ws) = acceptor.accept(stream).await {
                let _ = echo(ws).await;
            }
        });
    }
}

async fn echo(mut ws: WebSocket) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}
