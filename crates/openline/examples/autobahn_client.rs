//! The client that the Autobahn testsuite examines: it asks the suite's fuzzing server how many cases there are, and
//! echoes in each. `cargo run -p openline --example autobahn_client -- ws://127.0.0.1:9001`; see `conformance/`.
//!
//! `--http2 ws://127.0.0.1:9002` in front of it (feature `http2`) opens all of its WebSockets on one connection of HTTP/2 to a proxy
//! before the fuzzing server.

use std::error::Error;
use std::time::Duration;

#[cfg(feature = "http2")]
use http::header::{HOST, HeaderValue};
use openline::{Client, Config, Deflate, Message, WebSocket};

const AGENT: &str = "openline";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let bridge = arguments.next_if(|first| first == "--http2");
    let bridge = bridge.and_then(|_| arguments.next());
    let server = arguments
        .next()
        .ok_or("the fuzzing server's URL is missing")?;
    let server = Server::connect(server, bridge).await?;

    let mut count = server.open("/getCaseCount").await?;
    let Some(Ok(Message::Text(cases))) = count.next().await else {
        return Err("the fuzzing server did not tell the number of its cases".into());
    };
    for case in 1..=cases.parse::<u32>()? {
        let path = format!("/runCase?case={case}&agent={AGENT}");
        let ws = server.open(&path).await?;
        // In many cases the server breaks the protocol: the error is as it should be, and the report judges it.
        let _ = echo(ws).await;
    }
    let path = format!("/updateReports?agent={AGENT}");
    let mut report = server.open(&path).await?;
    while report.next().await.transpose()?.is_some() {}
    Ok(())
}

/// The way to the fuzzing server.
enum Server {
    Direct(String),
    #[cfg(feature = "http2")]
    Bridged {
        connection: openline::http2::Connection,
        bridge: String,
        /// The fuzzing server answers to its own name only.
        host: HeaderValue,
    },
}

impl Server {
    async fn connect(server: String, bridge: Option<String>) -> Result<Self, Box<dyn Error>> {
        match bridge {
            None => Ok(Self::Direct(server)),
            #[cfg(feature = "http2")]
            Some(bridge) => Ok(Self::Bridged {
                connection: Client::new(&bridge)?.connect_http2().await?,
                host: HeaderValue::from_str(server.trim_start_matches("ws://"))?,
                bridge,
            }),
            #[cfg(not(feature = "http2"))]
            Some(_) => Err("this was built without the feature `http2`".into()),
        }
    }

    async fn open(&self, path: &str) -> Result<WebSocket, openline::Error> {
        // The suite sends 16 MiB messages, and 4 MiB ones in 65,537 fragments. It takes the offer of compression in the cases
        // that are about it.
        let config = Config::default()
            .max_message(64 << 20)
            .max_fragments(1 << 17)
            .handshake_timeout(Duration::from_secs(60)) // between its heaviest cases the suite takes its time
            .deflate(Some(Deflate::default().threshold(0)));
        let client = |server: &str| Client::new(&format!("{server}{path}"));
        let (ws, _) = match self {
            Self::Direct(server) => client(server)?.config(config).connect().await?,
            #[cfg(feature = "http2")]
            Self::Bridged {
                connection,
                bridge,
                host,
            } => {
                let client = client(bridge)?.header(HOST, host.clone());
                connection.open(client.config(config)).await?
            }
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
