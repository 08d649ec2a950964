//! The client that the Autobahn testsuite examines: it asks the suite's fuzzing server how many cases there are, and
//! echoes in each. `cargo run -p openline --features http2 --example autobahn_client -- ws://127.0.0.1:9001`; see `conformance/`.
//! With `--http2` in front of the URL, every case is a stream of one connection of HTTP/2.

use std::error::Error;
use std::time::Duration;

use openline::{Client, Config, Deflate, Message, WebSocket, http2};

const AGENT: &str = "openline";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let http2 = arguments.next_if(|one| one == "--http2").is_some();
    let url = arguments
        .next()
        .ok_or("the fuzzing server's URL is missing")?;
    let connection = if http2 {
        Some(Client::new(&url)?.connect_http2().await?)
    } else {
        None
    };
    let server = FuzzingServer { url, connection };

    let mut count = server.connect("/getCaseCount").await?;
    let Some(Ok(Message::Text(cases))) = count.next().await else {
        return Err("the fuzzing server did not tell the number of its cases".into());
    };
    for case in 1..=cases.parse::<u32>()? {
        let path = format!("/runCase?case={case}&agent={AGENT}");
        let ws = server.connect(&path).await?;
        // In many cases the server breaks the protocol: the error is as it should be, and the report judges it.
        let _ = echo(ws).await;
    }
    let path = format!("/updateReports?agent={AGENT}");
    let mut report = server.connect(&path).await?;
    while report.next().await.transpose()?.is_some() {}
    Ok(())
}

struct FuzzingServer {
    url: String,
    connection: Option<http2::Connection>,
}

impl FuzzingServer {
    async fn connect(&self, path: &str) -> Result<WebSocket, openline::Error> {
        // The suite sends 16 MiB messages, and 4 MiB ones in 65,537 fragments. It takes the offer of compression in the cases
        // that are about it.
        let config = Config::default()
            .max_message(64 << 20)
            .max_fragments(1 << 17)
            .handshake_timeout(Duration::from_secs(60)) // between its heaviest cases the suite takes its time
            .deflate(Some(Deflate::default().threshold(0)));
        let client = Client::new(&format!("{}{path}", self.url))?.config(config);
        let (ws, _) = match &self.connection {
            Some(connection) => connection.open(client).await?,
            None => client.connect().await?,
        };
        Ok(ws)
    }
}

async fn echo(mut ws: WebSocket) -> Result<(), openline::Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}
