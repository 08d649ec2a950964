//! A file over a WebSocket, of any size, in memory that does not grow with it: one binary message, in pieces.
//!
//! `cargo run -p openline --example stream_file -- serve 127.0.0.1:9001 FILE` gives the file to whoever connects;
//! `cargo run -p openline --example stream_file -- fetch ws://127.0.0.1:9001/ COPY` writes it down.

use std::error::Error;
use std::io::Write as _;

use openline::{Kind, Server, WebSocket};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address, file] => serve(address, file.to_owned()).await?,
        ["fetch", url, file] => {
            let bytes = fetch(url, file).await?;
            writeln!(std::io::stderr(), "{bytes} bytes")?;
        }
        _ => return Err("usage: stream_file serve ADDRESS FILE | fetch URL FILE".into()),
    }
    Ok(())
}

async fn serve(address: &str, file: String) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
    Server::default()
        .run(listener, ctrl_c, move |ws, _| give(ws, file.clone()))
        .await;
    Ok(())
}

/// Sends the file as fast as the client takes it. Pings are answered meanwhile: the other half is read.
async fn give(ws: WebSocket, file: String) -> Result<(), openline::Error> {
    let (mut sender, mut receiver) = ws.split();
    let give = async {
        let file = File::open(file).await?;
        let mut writer = sender.writer(Kind::Binary).await?;
        writer.write_from(file).await?;
        writer.finish().await
    };
    let listen = async { while let Some(Ok(_)) = receiver.next().await {} };
    tokio::select! {
        given = give => given,
        () = listen => Ok(()), // the client has left
    }
}

async fn fetch(url: &str, file: &str) -> Result<u64, Box<dyn Error>> {
    let mut ws = openline::connect(url).await?;
    let mut reader = ws.next_reader().await.ok_or("no file came")??;
    let mut copy = File::create(file).await?;
    let bytes = tokio::io::copy(&mut reader, &mut copy).await?;
    copy.flush().await?;
    Ok(bytes)
}
