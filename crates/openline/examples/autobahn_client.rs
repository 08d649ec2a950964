//! The client that the Autobahn testsuite examines: it asks the suite's fuzzing server how many cases there are, and
//! echoes in each. `cargo run -p openline --example autobahn_client -- ws://127.0.0.1:9001`; see `conformance/`.

use std::error::Error;
use std::time::Duration;

use openline::{Client, Config, Deflate, Message, WebSocket};

const AGENT: &str = "openline";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args()
        .nth(1)
        .ok_or("the fuzzing server's URL is missing")?;

    let mut count = connect(&server, "/getCaseCount").await?;
    let Some(Ok(Message::Text(cases))) = count.next().await else {
        return Err("the fuzzing server did not tell the number of its cases".into());
    };
    for case in 1..=cases.parse::<u32>()? {
        let ws = connect(&server, &format!("/runCase?case={case}&agent={AGENT}")).await?;
        // In many cases the server breaks the protocol: the error is as it should be, and the report judges it.
        let _ = echo(ws).await;
    }
    let mut report = connect(&server, &format!("/updateReports?agent={AGENT}")).await?;
    while report.next().await.transpose()?.is_some() {}
    Ok(())
}

async fn connect(server: &str, path: &str) -> Result<WebSocket, openline::Error> {
    // The suite sends 16 MiB messages, and 4 MiB ones in 65,537 fragments. It takes the offer of compression in the cases
    // that are about it.
    let config = Config::default()
        .max_message(64 << 20)
        .max_fragments(1 << 17)
        .handshake_timeout(Duration::from_secs(60)) // between its heaviest cases the suite takes its time
        .deflate(Some(Deflate::default().threshold(0)));
    let client = Client::new(&format!("{server}{path}"))?.config(config);
    Ok(client.connect().await?.0)
}

async fn echo(mut ws: WebSocket) -> Result<(), openline::Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}
