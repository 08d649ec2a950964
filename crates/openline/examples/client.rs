//! A client with a proxy and header fields, which sends the lines of standard input and prints what comes:
//!
//! `cargo run -p openline --example client -- wss://user:password@example.org/chat --proxy socks5://127.0.0.1:9050 \
//!  --header 'Origin: https://example.org'`
//!
//! Without `--proxy` the environment is asked: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.

use std::error::Error;
use std::io::Write as _;

use http::{HeaderName, HeaderValue};
use openline::{Client, CloseCode, Message, Proxy};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut ws, response) = client(std::env::args().skip(1))?.connect().await?;
    writeln!(std::io::stderr(), "connected: {}", response.status())?;

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => ws.send(line).await?,
                None => break,
            },
            message = ws.next() => match message.transpose()? {
                Some(Message::Text(text)) => writeln!(std::io::stdout(), "{text}")?,
                Some(Message::Binary(bytes)) => writeln!(std::io::stdout(), "{bytes:?}")?,
                None => break,
            },
        }
    }
    let closed = ws.close(CloseCode::NORMAL, "").await?;
    writeln!(std::io::stderr(), "closed: {}", closed.code())?;
    Ok(())
}

fn client(mut arguments: impl Iterator<Item = String>) -> Result<Client, Box<dyn Error>> {
    let usage = "usage: client URL [--proxy URL] [--header 'NAME: VALUE']…";
    let mut client = Client::new(&arguments.next().ok_or(usage)?)?.redirects(5);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(usage)?;
        client = match option.as_str() {
            "--proxy" => client.proxy(Proxy::new(&value)?),
            "--header" => {
                let (name, value) = value.split_once(':').ok_or(usage)?;
                client.header(
                    HeaderName::try_from(name)?,
                    HeaderValue::try_from(value.trim())?,
                )
            }
            _ => return Err(usage.into()),
        };
    }
    Ok(client)
}
