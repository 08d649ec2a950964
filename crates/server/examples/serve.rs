//! A push server of one's own in a program of one's own: `cargo run -p openline-server --example serve`.

use openline_server::{Config, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::bind(Config::default()).await?;
    let publisher = server.publisher();
    publisher
        .publish("news", "text/plain", "the server is up")
        .await?;
    server.run(std::future::pending()).await;
    Ok(())
}
