//! tokio-tungstenite as a client of the library's example `echo`, and as a server for its example `client_interop`.
//! `OPENLINE_ECHO` and `OPENLINE_CLIENT` name the built programs.

use std::env;
use std::error::Error;
use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Message};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// On both sides of each form of length in a frame's header, and large.
const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20, 3 << 20];

/// What `client_interop echo` tells first, when all went well.
const AFTER_ECHO: &str = concat!(
    r#"{"subprotocol":"chat","messages":118,"received":{"code":1000,"reason":"done"},"#,
    r#""sent":{"code":1000,"reason":"done"},"by_peer":false,"clean":true,"#
);

#[test]
fn as_a_client_it_gets_back_messages_of_every_size() {
    for options in [&[][..], &["--deflate"]] {
        run(async {
            let echo = Echo::start(options).await?;
            let mut ws = echo.connect().await?;
            for size in SIZES {
                for message in [Message::text(text(size)), Message::binary(bytes(size))] {
                    ws.send(message.clone()).await?;
                    assert!(ws.next().await.ok_or("closed")?? == message, "{size} bytes");
                }
            }
            // Many at once, which come back in order.
            for number in 0..1_000 {
                ws.feed(Message::text(number.to_string())).await?;
            }
            ws.flush().await?;
            for number in 0..1_000 {
                let echo = ws.next().await.ok_or("closed")??;
                assert_eq!(echo, Message::text(number.to_string()));
            }
            Ok(())
        });
    }
}

#[test]
fn as_a_client_it_gets_back_fragments_in_one_and_pongs_in_between() {
    run(async {
        let echo = Echo::start(&[]).await?;
        let mut ws = echo.connect().await?;
        // The pieces part a character.
        let (first, rest) = "Grüß Gott, 🌍".as_bytes().split_at(3);
        let (second, third) = rest.split_at(10);
        let piece = |payload: &[u8], kind, last| {
            Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(kind), last))
        };
        ws.send(piece(first, Data::Text, false)).await?;
        ws.send(Message::Ping("one".into())).await?;
        ws.send(piece(second, Data::Continue, false)).await?;
        ws.send(piece(b"", Data::Continue, false)).await?;
        ws.send(Message::Ping("two".into())).await?;
        assert_eq!(
            ws.next().await.ok_or("closed")??,
            Message::Pong("one".into())
        );
        assert_eq!(
            ws.next().await.ok_or("closed")??,
            Message::Pong("two".into())
        );
        ws.send(piece(third, Data::Continue, true)).await?;
        assert_eq!(
            ws.next().await.ok_or("closed")??,
            Message::text("Grüß Gott, 🌍")
        );
        Ok(())
    });
}

#[test]
fn as_a_client_its_close_is_answered_with_its_code() {
    run(async {
        let echo = Echo::start(&[]).await?;
        for code in [1000, 1001, 1011, 3000, 4999] {
            let mut ws = echo.connect().await?;
            let code = CloseCode::from(code);
            ws.send(Message::Close(Some(CloseFrame {
                code,
                reason: "enough".into(),
            })))
            .await?;
            let Message::Close(Some(answer)) = ws.next().await.ok_or("no Close frame")?? else {
                return Err("no Close frame".into());
            };
            assert_eq!(answer.code, code);
            assert!(ws.next().await.is_none());
        }
        Ok(())
    });
}

#[test]
fn as_a_server_it_echoes_messages_of_every_size() {
    for options in [&[][..], &["--deflate", ""]] {
        run(async {
            let server = Server::start().await?;
            let client = server.client("echo", options)?;
            let mut ws = server.accept().await?;
            let mut closed = None;
            while let Some(message) = ws.next().await {
                match message? {
                    Message::Close(frame) => closed = frame,
                    message => ws.send(message).await?,
                }
            }
            let closed = closed.ok_or("no Close frame with a code")?;
            assert_eq!(
                (closed.code, closed.reason.as_str()),
                (CloseCode::Normal, "done")
            );
            drop(ws); // the server is who ends the TCP connection
            let told = told(client).await?;
            assert!(told.starts_with(AFTER_ECHO), "{told}");
            // Without an answer to its offer, a client compresses nothing.
            assert!(told.contains(r#""wire":{"extensions":null"#), "{told}");
            Ok(())
        });
    }
}

#[test]
fn as_a_server_its_fragments_are_put_together_and_its_pings_answered() {
    run(async {
        let server = Server::start().await?;
        let client = server.client("echo", &[])?;
        let mut ws = server.accept().await?;
        let (mut messages, mut pongs) = (0, Vec::new());
        while let Some(message) = ws.next().await {
            let (payload, kind) = match message? {
                Message::Text(text) => (text.into(), Data::Text),
                Message::Binary(bytes) => (bytes, Data::Binary),
                Message::Pong(payload) => {
                    pongs.push(std::str::from_utf8(&payload)?.parse::<u32>()?);
                    continue;
                }
                _ => continue,
            };
            let half = payload.len() / 2;
            let pieces = [
                (payload.slice(..half), kind, false),
                (payload.slice(half..), Data::Continue, true),
            ];
            for (piece, kind, last) in pieces {
                ws.feed(Message::Frame(Frame::message(
                    piece,
                    OpCode::Data(kind),
                    last,
                )))
                .await?;
                if !last {
                    ws.feed(Message::Ping(messages.to_string().into())).await?;
                }
            }
            ws.flush().await?;
            messages += 1;
        }
        drop(ws);
        let told = told(client).await?;
        assert!(told.starts_with(AFTER_ECHO), "{told}");
        assert_eq!(messages, 118);
        // The last hundred come at once: of those pings some may go unanswered (RFC 6455 §5.5.3).
        let answered = pongs.iter().take(18).copied();
        assert!(answered.eq(0..18) && pongs.is_sorted(), "{pongs:?}");
        Ok(())
    });
}

#[test]
fn as_a_server_its_close_is_told_with_code_and_reason() {
    run(async {
        let server = Server::start().await?;
        let client = server.client("listen", &[])?;
        let mut ws = server.accept().await?;
        ws.send(Message::text("the last word")).await?;
        ws.close(Some(CloseFrame {
            code: CloseCode::Library(4321),
            reason: "enough".into(),
        }))
        .await?;
        while ws.next().await.transpose()?.is_some() {}
        drop(ws);
        let told = told(client).await?;
        let wanted = concat!(
            r#"{"subprotocol":"chat","messages":1,"received":{"code":4321,"reason":"enough"},"#,
            r#""sent":{"code":4321,"reason":""},"by_peer":true,"clean":true,"#
        );
        assert!(told.starts_with(wanted), "{told}");
        Ok(())
    });
}

/// The example `echo`, ended when it is dropped.
struct Echo {
    _program: Child,
    port: u16,
}

impl Echo {
    async fn start(options: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let mut program = Command::new(program("OPENLINE_ECHO"))
            .args(options)
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = program.try_wait()? {
                return Err(format!("the echo server ended by itself: {status}").into());
            }
        }
        Ok(Self {
            _program: program,
            port,
        })
    }

    async fn connect(&self) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        Ok(connect_async(format!("ws://127.0.0.1:{}/", self.port))
            .await?
            .0)
    }
}

/// A server of tokio-tungstenite's, and the example `client_interop` that connects to it.
struct Server(TcpListener);

impl Server {
    async fn start() -> Result<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await?))
    }

    fn client(&self, mode: &str, options: &[&str]) -> Result<Child> {
        let url = format!("ws://{}/", self.0.local_addr()?);
        let mut client = Command::new(program("OPENLINE_CLIENT"));
        client.arg(mode).arg(url).args(options);
        client
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        Ok(client.spawn()?)
    }

    /// Takes the one connection, and the subprotocol `chat`.
    async fn accept(&self) -> Result<WebSocketStream<TcpStream>> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(accept_hdr_async(stream, choose_chat).await?)
    }
}

#[allow(clippy::result_large_err, reason = "tungstenite's signature")]
fn choose_chat(
    request: &Request,
    mut response: Response,
) -> std::result::Result<Response, ErrorResponse> {
    const FIELD: &str = "sec-websocket-protocol";
    assert_eq!(request.headers()[FIELD], "chat");
    response
        .headers_mut()
        .insert(FIELD, HeaderValue::from_static("chat"));
    Ok(response)
}

/// Waits for the client, and returns what it printed.
async fn told(client: Child) -> Result<String> {
    let output = client.wait_with_output().await?;
    assert!(output.status.success(), "{}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn program(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} must be the path of a built program (ci/test.sh interop sets it)")
    })
}

/// Runs a test; the deadline only ends one that hangs.
fn run(test: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let minute = Duration::from_secs(60);
    let done = runtime.block_on(async { tokio::time::timeout(minute, test).await });
    done.expect("the test hangs").unwrap();
}

fn text(size: usize) -> String {
    let text = "aé€😀".chars().cycle().take(size).collect::<String>();
    text[..text.floor_char_boundary(size)].to_owned()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}
