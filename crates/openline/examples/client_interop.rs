//! A client for servers of other make to be tested with, run by `conformance/interop/python`. It prints one line of JSON:
//! how the connection went and how it was closed.
//!
//! - `client_interop echo URL [CA_FILE]` sends messages of every kind and size to an echo server, compares, and closes.
//! - `client_interop listen URL [CA_FILE]` receives until the server closes.
//!
//! With a file of certificate authorities (PEM), `wss://` trusts those alone.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use openline::tls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use openline::tls::rustls::{self, ClientConfig, RootCertStore};
use openline::{Client, CloseCode, CloseReason, Closed, Config, Message, WebSocket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(mode), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client_interop echo|listen URL [CA_FILE]".into());
    };
    let mut client = Client::new(&url)?
        .subprotocol("chat")
        .config(Config::default().max_message(4 << 20));
    if let Some(file) = arguments.next() {
        client = client.tls(trust(&file)?);
    }
    let (mut ws, _) = client.connect().await?;

    let messages = match mode.as_str() {
        "echo" => echo(&mut ws).await?,
        "listen" => listen(&mut ws).await?,
        other => return Err(format!("`{other}` is neither `echo` nor `listen`").into()),
    };
    let closed = ws.close(CloseCode::NORMAL, "done").await?;
    report(&ws, messages, &closed)?;
    Ok(())
}

/// Every form of length in a frame's header on both of its sides, both kinds, and characters of every width.
async fn echo(ws: &mut WebSocket) -> Result<u32, Box<dyn Error>> {
    let mut messages = 0;
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20, 3 << 20] {
        let text = "aé€😀".chars().cycle().take(size).collect::<String>();
        let text = &text[..text.floor_char_boundary(size)];
        let binary = (0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>();
        for message in [Message::from(text), Message::from(binary)] {
            ws.send(message.clone()).await?;
            let answer = ws.next().await.ok_or("closed instead of an echo")??;
            if answer != message {
                return Err(format!("the echo of {size} bytes differs").into());
            }
            messages += 1;
        }
    }
    // Many at once, which come back in order.
    for number in 0..100 {
        ws.feed(number.to_string())?;
    }
    ws.flush().await?;
    for number in 0..100 {
        let answer = ws.next().await.ok_or("closed instead of an echo")??;
        if answer.as_text() != Some(&number.to_string()) {
            return Err(format!("{answer:?} came as the echo of `{number}`").into());
        }
        messages += 1;
    }
    Ok(messages)
}

async fn listen(ws: &mut WebSocket) -> Result<u32, Box<dyn Error>> {
    let mut messages = 0;
    while ws.next().await.transpose()?.is_some() {
        messages += 1;
    }
    Ok(messages)
}

fn trust(file: &str) -> Result<ClientConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn report(ws: &WebSocket, messages: u32, closed: &Closed) -> std::io::Result<()> {
    let reason = |reason: &Option<CloseReason>| match reason {
        Some(CloseReason { code, reason }) => format!(r#"{{"code":{code},"reason":"{reason}"}}"#),
        None => "null".to_owned(),
    };
    let subprotocol = match ws.subprotocol() {
        Some(name) => format!(r#""{name}""#),
        None => "null".to_owned(),
    };
    writeln!(
        std::io::stdout(),
        r#"{{"subprotocol":{subprotocol},"messages":{messages},"received":{},"sent":{},"by_peer":{},"clean":{}}}"#,
        reason(&closed.received),
        reason(&closed.sent),
        closed.by_peer,
        closed.clean,
    )
}
