//! An echo server that speaks HTTP/2 with prior knowledge besides HTTP/1.1, for proxies that stand before it:
//! `cargo run --release -p openline --features http2 --example echo_http2 -- 127.0.0.1:9001`.

use openline::{Acceptor, Config, Deflate, Error, Server, http2};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    // Large messages may come in many small fragments, too.
    let config = Config::default()
        .max_message(64 << 20)
        .max_fragments(1 << 17)
        .deflate(Some(Deflate::default().threshold(0)));
    let listener = TcpListener::bind(&address).await?;
    Server::default()
        .acceptor(Acceptor::default().config(config))
        .http2(http2::Settings::default())
        .run(
            listener,
            std::future::pending(),
            async |mut ws, _request| {
                while let Some(message) = ws.next().await {
                    ws.send(message?).await?;
                }
                Ok::<_, Error>(())
            },
        )
        .await;
    Ok(())
}
