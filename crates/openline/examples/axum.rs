//! WebSockets beside other routes of an axum program.
//!
//! `cargo run -p openline --features axum --example axum -- 127.0.0.1:9001`, then open the address in a browser.

use axum::Router;
use axum::response::{Html, Response};
use axum::routing::{any, get};
use openline::axum::WebSocketUpgrade;
use tokio::net::TcpListener;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Echo</title>
<input autofocus placeholder='say something'><pre></pre>
<script>
  const socket = new WebSocket(`ws://${location.host}/echo`)
  const [input, output] = [document.querySelector('input'), document.querySelector('pre')]
  input.onchange = () => { socket.send(input.value); input.value = '' }
  socket.onmessage = ({ data }) => output.append(data + '\\n')
</script>";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let app = Router::new()
        .route("/", get(Html(PAGE)))
        .route("/echo", any(echo));
    axum::serve(TcpListener::bind(&address).await?, app).await
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut ws| {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, openline::Error>(())
    })
}
