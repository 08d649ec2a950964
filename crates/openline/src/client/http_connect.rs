//! The way through an HTTP proxy: `CONNECT` (RFC 9110 §9.3.6).

use std::io;

use http::HeaderValue;
use openline_proto::Config;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::answer::{read_body, read_head};
use super::proxy::ProxyError;
use crate::stream::Stream;

/// Asks the proxy on a stream for a tunnel, which is then the stream.
pub(crate) async fn tunnel(
    mut stream: Stream,
    server: &Address,
    authorization: Option<&HeaderValue>,
    config: &Config,
    deadline: Instant,
) -> Result<Stream, ProxyError> {
    let exchange = async {
        write(&mut stream, server, authorization).await?;
        read_head::<ProxyError>(&mut stream, config).await
    };
    let answer = timeout_at(deadline, exchange).await;
    let (response, early) = answer.map_err(|_| ProxyError::Timeout)??;
    if !response.status().is_success() {
        let whole = read_body(&mut stream, response, early, deadline).await;
        return Err(ProxyError::Refused(whole));
    }
    // A body that a 2xx announces is none (§9.3.6). The server speaks when it was spoken to: what follows the head at
    // once is not its word, and must not pass as such.
    if early.is_empty() {
        Ok(stream)
    } else {
        Err(ProxyError::Early)
    }
}

async fn write(
    stream: &mut Stream,
    server: &Address,
    authorization: Option<&HeaderValue>,
) -> io::Result<()> {
    // Neither a parsed host nor a header's value can hold a line break.
    let authority = server.authority();
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
    if let Some(value) = authorization {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadError;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, duplex};

    const ASKED: &str = "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n";

    /// What a client makes of an answer.
    async fn answered(answer: Vec<u8>) -> Result<Stream, ProxyError> {
        let (here, mut there) = duplex(1 << 20);
        let server = Address::parse("wss://h/secret?token=x").unwrap().0;
        let deadline = Instant::now() + Duration::from_secs(10);
        let config = Config::default();
        let ask = tunnel(Stream::new(here), &server, None, &config, deadline);
        let answer = async {
            let mut asked = vec![0; ASKED.len()];
            there.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, ASKED.as_bytes());
            there.write_all(&answer).await.unwrap();
            there.shutdown().await.unwrap();
        };
        let (result, ()) = tokio::join!(ask, answer);
        result
    }

    #[tokio::test]
    async fn any_success_opens_the_way() {
        for good in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 Connection established\r\n\r\n",
            "HTTP/1.1 299 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(answered(good.into()).await.is_ok(), "{good}");
        }
    }

    #[tokio::test]
    async fn attack_24_bytes_behind_the_answer_are_not_the_servers_client() {
        let smuggled = answered("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching".into()).await;
        assert!(matches!(smuggled, Err(ProxyError::Early)));
        let other = answered("HTTP/1.1 101 Switching Protocols\r\n\r\n".into()).await;
        assert!(matches!(other, Err(ProxyError::Refused(_))));
    }

    #[tokio::test]
    async fn attack_13_a_proxys_endless_answer_is_cut_off_client() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(20_000));
        let result = answered(long.into()).await;
        assert!(matches!(
            result,
            Err(ProxyError::Head(HeadError::TooLong { limit: 16_384 }))
        ));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
        let result = answered(many.into()).await;
        assert!(matches!(
            result,
            Err(ProxyError::Head(HeadError::TooManyFields))
        ));
        let endless = format!("HTTP/1.1 502 X\r\n\r\n{}", "x".repeat(100_000));
        let Err(ProxyError::Refused(refusal)) = answered(endless.into()).await else {
            panic!("not refused")
        };
        assert_eq!(
            (refusal.status().as_u16(), refusal.body().len()),
            (502, 65_536)
        );
        let cut = answered("HTTP/1.1 200 OK\r\n".into()).await;
        assert!(matches!(cut, Err(ProxyError::Head(HeadError::Eof))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_drips_runs_into_the_deadline() {
        let (here, mut there) = duplex(1 << 20);
        let server = Address::parse("ws://h").unwrap().0;
        let began = Instant::now();
        let config = Config::default();
        let deadline = began + Duration::from_secs(10);
        let drip = async {
            for byte in b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n" {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if there.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        };
        let ask = tunnel(Stream::new(here), &server, None, &config, deadline);
        let (result, ()) = tokio::join!(ask, drip);
        assert!(matches!(result, Err(ProxyError::Timeout)));
        assert!(began.elapsed() <= Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_whose_body_never_ends_is_told_at_the_deadline() {
        let (here, mut there) = duplex(1 << 20);
        let server = Address::parse("ws://h").unwrap().0;
        let deadline = Instant::now() + Duration::from_secs(10);
        let head = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 100\r\n\r\nno";
        there.write_all(head).await.unwrap();
        let config = Config::default();
        let result = tunnel(Stream::new(here), &server, None, &config, deadline).await;
        let Err(ProxyError::Refused(refusal)) = result else {
            panic!("not refused")
        };
        assert_eq!(&refusal.body()[..], b"no");
        assert_eq!(Instant::now(), deadline);
    }
}
