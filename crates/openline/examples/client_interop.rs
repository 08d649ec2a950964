//! A client for servers of other make to be tested with, run by `conformance/interop`. It prints one line of JSON: how the
//! connection went and how it was closed.
//!
//! - `client_interop echo URL` sends messages of every kind and size to an echo server, compares, and closes.
//! - `client_interop talk URL` does so with what compression makes small and with what it can't.
//! - `client_interop listen URL` receives until the server closes.
//!
//! `--ca FILE`: `wss://` trusts these certificate authorities (PEM) alone. `--proxy URL`: go through it.
//! `--deflate PARAMETERS`: ask for compression, as `server_max_window_bits=10; client_no_context_takeover`; they may be empty.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use openline::tls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use openline::tls::rustls::{self, ClientConfig, RootCertStore};
use openline::{
    Client, CloseCode, CloseReason, Closed, Config, Deflate, Message, Proxy, WebSocket,
};

const USAGE: &str =
    "usage: client_interop echo|talk|listen URL [--ca FILE] [--proxy URL] [--deflate PARAMETERS]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(mode), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err(USAGE.into());
    };
    let (mut ws, response) = client(&url, arguments)?.connect().await?;

    let messages = match mode.as_str() {
        "echo" => echo(&mut ws).await?,
        "talk" => talk(&mut ws).await?,
        "listen" => listen(&mut ws).await?,
        _ => return Err(USAGE.into()),
    };
    let closed = ws.close(CloseCode::NORMAL, "done").await?;
    let extensions = response.headers().get(SEC_WEBSOCKET_EXTENSIONS);
    let extensions = extensions.map(|field| field.to_str()).transpose()?;
    report(&ws, extensions, messages, &closed)?;
    Ok(())
}

fn client(url: &str, mut options: impl Iterator<Item = String>) -> Result<Client, Box<dyn Error>> {
    let mut client = Client::new(url)?.subprotocol("chat");
    let mut config = Config::default().max_message(4 << 20);
    while let Some(option) = options.next() {
        let value = options.next().ok_or(USAGE)?;
        match option.as_str() {
            "--ca" => client = client.tls(trust(&value)?),
            "--proxy" => client = client.proxy(Proxy::new(&value)?),
            "--deflate" => config = config.deflate(Some(deflate(&value)?)),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(client.config(config))
}

fn deflate(parameters: &str) -> Result<Deflate, Box<dyn Error>> {
    let mut deflate = Deflate::default().threshold(0);
    for parameter in parameters.split(';').map(str::trim) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        deflate = match name {
            "" => deflate,
            "server_no_context_takeover" => deflate.server_no_context_takeover(true),
            "client_no_context_takeover" => deflate.client_no_context_takeover(true),
            "server_max_window_bits" => deflate.server_max_window_bits(value.parse()?),
            "client_max_window_bits" => deflate.client_max_window_bits(value.parse()?),
            _ => return Err(format!("permessage-deflate has no parameter `{name}`").into()),
        };
    }
    Ok(deflate)
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

/// Messages that are much alike, as those of a feed are; then noise that comes again: behind 400 bytes, where a window of 8
/// bits can't reach and zlib's, which has 9 in its place, does; and behind 20,000, where only one of 15 bits reaches.
async fn talk(ws: &mut WebSocket) -> Result<u32, Box<dyn Error>> {
    let mut messages = Vec::new();
    for number in 0..20 {
        let seat = number * 7 % 30;
        messages.push(Message::from(format!(
            r#"{{"flight":"UA1545","status":"boarding","gate":"C71","passengers":{number},"seat":"{seat}A"}}"#
        )));
    }
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise = noise.take(20_000).collect::<Vec<_>>();
    messages.push(Message::from(noise[..400].repeat(2)));
    messages.push(Message::from(noise.repeat(2)));
    messages.push(Message::from(noise));
    for message in &messages {
        ws.send(message.clone()).await?;
        let answer = ws.next().await.ok_or("closed instead of an echo")??;
        if answer != *message {
            return Err(format!("the echo differs: {answer:?}").into());
        }
    }
    Ok(u32::try_from(messages.len())?)
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

fn report(
    ws: &WebSocket,
    extensions: Option<&str>,
    messages: u32,
    closed: &Closed,
) -> std::io::Result<()> {
    let string = |text: Option<&str>| match text {
        Some(text) => format!("{text:?}"),
        None => "null".to_owned(),
    };
    let reason = |reason: &Option<CloseReason>| match reason {
        Some(CloseReason { code, reason }) => format!(r#"{{"code":{code},"reason":"{reason}"}}"#),
        None => "null".to_owned(),
    };
    let traffic = ws.traffic();
    let wire = format!(
        r#"{{"extensions":{},"received":{},"sent":{}}}"#,
        string(extensions),
        traffic.received,
        traffic.sent
    );
    writeln!(
        std::io::stdout(),
        r#"{{"subprotocol":{},"messages":{messages},"received":{},"sent":{},"by_peer":{},"clean":{},"wire":{wire}}}"#,
        string(ws.subprotocol()),
        reason(&closed.received),
        reason(&closed.sent),
        closed.by_peer,
        closed.clean,
    )
}
