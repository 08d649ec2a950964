//! Servers and proxies to be refused, led astray and kept waiting by, on 127.0.0.1.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use openline::{Acceptor, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use crate::common::read_head;

/// What was asked of a server or proxy, head by head.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    pub(crate) fn add(&self, head: &str) {
        self.0.lock().unwrap().push(head.to_ascii_lowercase());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The only one.
    pub(crate) fn one(&self) -> String {
        let all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }
}

/// Serves each connection by `serve`, on a free port.
pub(crate) async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Does the opening handshake, writes the request down, and echoes.
pub(crate) async fn echo(stream: impl Into<Stream>, asked: Asked) {
    let Ok(opening) = Acceptor::default().read(stream).await else {
        return;
    };
    let request = opening.request();
    let fields: String = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    asked.add(&format!("GET {}\n{fields}", request.uri()));
    let Ok(mut ws) = opening.accept().await else {
        return;
    };
    while let Some(Ok(message)) = ws.next().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

pub(crate) async fn echo_server() -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let address = serve(move |stream| echo(stream, heard.clone())).await;
    (address, asked)
}

/// Answers each request with the same, and keeps the connection open.
pub(crate) async fn answering(answer: impl Into<String>) -> (SocketAddr, Asked) {
    let (asked, answer) = (Asked::default(), answer.into());
    let heard = asked.clone();
    let address = serve(move |mut stream| {
        let (heard, answer) = (heard.clone(), answer.clone());
        async move {
            heard.add(&read_head(&mut stream).await);
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    (address, asked)
}

/// Sends each request elsewhere.
pub(crate) async fn redirecting(status: u16, location: impl Into<String>) -> (SocketAddr, Asked) {
    let location = location.into();
    answering(format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    ))
    .await
}

/// An HTTP proxy that connects every name to one server, if it is asked with the right credentials (base64).
pub(crate) async fn http_proxy(
    server: SocketAddr,
    credentials: Option<&'static str>,
) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let address = serve(move |stream| {
        let heard = heard.clone();
        async move {
            let _ = relay_http(stream, move |_| server, credentials, heard).await;
        }
    })
    .await;
    (address, asked)
}

/// One connection of an HTTP proxy, to where `route` says for the head of the request.
pub(crate) async fn relay_http(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    route: impl Fn(&str) -> SocketAddr,
    credentials: Option<&'static str>,
    asked: Asked,
) -> io::Result<()> {
    let head = read_head(&mut stream).await;
    let to = route(&head);
    asked.add(&head);
    if let Some(credentials) = credentials
        && !head.contains(&format!("proxy-authorization: Basic {credentials}\r\n"))
    {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
            Proxy-Authenticate: Basic realm=\"it\"\r\nTransfer-Encoding: chunked\r\n\r\n\
            c\r\nwho are you?\r\n0\r\n\r\n";
        stream.write_all(refusal.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        return Ok(());
    }
    let mut out = TcpStream::connect(to).await?;
    let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
    stream.write_all(answer).await?;
    copy_bidirectional(&mut stream, &mut out).await?;
    Ok(())
}

/// A SOCKS 5 proxy that connects every name to one server, and writes down whom it was asked for and by whom.
pub(crate) async fn socks_proxy(server: SocketAddr) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let address = serve(move |stream| {
        let heard = heard.clone();
        async move {
            let _ = relay_socks(stream, move |_| server, heard).await;
        }
    })
    .await;
    (address, asked)
}

/// One connection of a SOCKS proxy, to where `route` says for what was asked.
pub(crate) async fn relay_socks(
    mut stream: TcpStream,
    route: impl Fn(&str) -> SocketAddr,
    asked: Asked,
) -> io::Result<()> {
    let count = take(&mut stream, 2).await?[1];
    let methods = take(&mut stream, count.into()).await?;
    let mut who = String::new();
    if methods.contains(&2) {
        stream.write_all(&[5, 2]).await?;
        take(&mut stream, 1).await?;
        let user = text(&mut stream).await?;
        who = format!("{user}:{}@", text(&mut stream).await?);
        stream.write_all(&[1, 0]).await?;
    } else {
        stream.write_all(&[5, 0]).await?;
    }
    let host = match take(&mut stream, 4).await?[3] {
        1 => format!("{:?}", take(&mut stream, 4).await?),
        _ => text(&mut stream).await?,
    };
    let port = stream.read_u16().await?;
    let wanted = format!("{who}{host}:{port}");
    asked.add(&wanted);
    let mut out = TcpStream::connect(route(&wanted)).await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut out).await?;
    Ok(())
}

async fn take(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(stream: &mut TcpStream) -> io::Result<String> {
    let length = stream.read_u8().await?;
    let text = String::from_utf8(take(stream, length.into()).await?);
    text.map_err(io::Error::other)
}
