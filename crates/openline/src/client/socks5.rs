//! The way through a SOCKS 5 proxy (RFC 1928), with a name and a password (RFC 1929) where they are given.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::address::{Address, UserInfo};
use super::auth::CredentialsError;
use super::proxy::ProxyError;
use crate::stream::Stream;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Whether a name and a password can be told: each has one byte for its length (RFC 1929 §2).
pub(crate) fn check(user_info: &UserInfo) -> Result<(), CredentialsError> {
    if user_info.user.len() > 255 || user_info.password.len() > 255 {
        return Err(CredentialsError::TooLong);
    }
    Ok(())
}

/// Asks the proxy on a stream for a tunnel, which is then the stream.
pub(crate) async fn tunnel(
    mut stream: Stream,
    server: &Address,
    credentials: Option<&UserInfo>,
    deadline: Instant,
) -> Result<Stream, ProxyError> {
    let exchange = async {
        greet(&mut stream, credentials).await?;
        ask(&mut stream, server).await
    };
    let done = timeout_at(deadline, exchange).await;
    done.map_err(|_| ProxyError::Timeout)??;
    Ok(stream)
}

/// Agrees with the proxy on how to tell who asks, and tells it (RFC 1928 §3).
async fn greet(stream: &mut Stream, credentials: Option<&UserInfo>) -> Result<(), ProxyError> {
    let methods: &[u8] = match credentials {
        Some(_) => &[NO_AUTHENTICATION, USER_AND_PASSWORD],
        None => &[NO_AUTHENTICATION],
    };
    send(stream, &[&[VERSION, methods.len() as u8], methods].concat()).await?;
    let [version, method] = receive(stream).await?;
    match (version, method, credentials) {
        (VERSION, NO_AUTHENTICATION, _) => Ok(()),
        (VERSION, USER_AND_PASSWORD, Some(credentials)) => identify(stream, credentials).await,
        (VERSION, _, _) => Err(ProxyError::SocksMethod),
        _ => Err(ProxyError::NotSocks),
    }
}

async fn identify(stream: &mut Stream, credentials: &UserInfo) -> Result<(), ProxyError> {
    let UserInfo { user, password } = credentials;
    let mut message = vec![1];
    for text in [user, password] {
        message.push(u8::try_from(text.len()).map_err(|_| CredentialsError::TooLong)?);
        message.extend_from_slice(text);
    }
    send(stream, &message).await?;
    // The version of this exchange is 1; proxies that answer with 5 are in use.
    let [_, status] = receive(stream).await?;
    match status {
        0 => Ok(()),
        _ => Err(ProxyError::SocksCredentials),
    }
}

/// Names the server (§4) and reads the reply to its end (§6), not a byte further: those are the server's.
async fn ask(stream: &mut Stream, server: &Address) -> Result<(), ProxyError> {
    let mut message = vec![VERSION, CONNECT, 0];
    match server.host() {
        Host::Ipv4(ip) => {
            message.push(IPV4);
            message.extend_from_slice(&ip.octets());
        }
        Host::Ipv6(ip) => {
            message.push(IPV6);
            message.extend_from_slice(&ip.octets());
        }
        Host::Domain(name) => {
            let length = u8::try_from(name.len()).map_err(|_| ProxyError::SocksName)?;
            message.extend_from_slice(&[NAME, length]);
            message.extend_from_slice(name.as_bytes());
        }
    }
    message.extend_from_slice(&server.port().to_be_bytes());
    send(stream, &message).await?;

    let [version, reply, _, kind] = receive(stream).await?;
    if version != VERSION {
        return Err(ProxyError::NotSocks);
    }
    if reply != 0 {
        return Err(ProxyError::SocksReply(reply));
    }
    let bound = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(ProxyError::NotSocks),
    };
    let mut address_and_port = [0; 255 + 2];
    stream
        .read_exact(&mut address_and_port[..bound + 2])
        .await?;
    Ok(())
}

async fn send(stream: &mut Stream, message: &[u8]) -> Result<(), ProxyError> {
    stream.write_all(message).await?;
    Ok(stream.flush().await?)
}

async fn receive<const N: usize>(stream: &mut Stream) -> Result<[u8; N], ProxyError> {
    let mut message = [0; N];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// What a reply's code means (§6).
pub(crate) const fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "its rules do not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "the time to live expired",
        7 => "it does not support CONNECT",
        8 => "it does not support this type of address",
        _ => "a reason that RFC 1928 does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::duplex;

    fn alice() -> UserInfo {
        UserInfo {
            user: b"al".into(),
            password: b"pw!".into(),
        }
    }

    /// Plays the proxy: what is expected and what is answered, in turn. What comes behind must stay in the stream.
    async fn play(
        url: &str,
        credentials: Option<UserInfo>,
        script: &[(&[u8], &[u8])],
    ) -> Result<(), ProxyError> {
        let (here, mut there) = duplex(4096);
        let server = Address::parse(url).unwrap().0;
        let deadline = Instant::now() + Duration::from_secs(10);
        let ask = tunnel(Stream::new(here), &server, credentials.as_ref(), deadline);
        let answer = async {
            for (expected, answer) in script {
                let mut asked = vec![0; expected.len()];
                there.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, *expected);
                there.write_all(answer).await.unwrap();
            }
            there.write_all(b"server").await.unwrap();
            there.shutdown().await.unwrap();
            let mut more = Vec::new();
            there.read_to_end(&mut more).await.unwrap();
            assert!(more.is_empty(), "the client said more: {more:?}");
        };
        let ask = async {
            let mut stream = ask.await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"server");
            Ok(())
        };
        tokio::join!(ask, answer).0
    }

    const DONE_V4: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];

    #[tokio::test]
    async fn names_go_to_the_proxy_and_addresses_as_bytes() {
        let hello: (&[u8], &[u8]) = (&[5, 1, 0], &[5, 0]);
        let name: (&[u8], &[u8]) = (b"\x05\x01\x00\x03\x09localhost\x1f\x90", DONE_V4);
        play("ws://localhost:8080/", None, &[hello, name])
            .await
            .unwrap();
        let done_name: &[u8] = b"\x05\x00\x00\x03\x02ab\x00\x50";
        let v4: (&[u8], &[u8]) = (&[5, 1, 0, 1, 10, 0, 0, 7, 1, 187], done_name);
        play("wss://10.0.0.7/", None, &[hello, v4]).await.unwrap();
        let mut asked = vec![5, 1, 0, 4];
        asked.extend([0; 15]);
        asked.extend([1, 0, 80]);
        let mut done_v6 = vec![5, 0, 0, 4];
        done_v6.extend([0; 18]);
        play("ws://[::1]/", None, &[hello, (&asked, &done_v6)])
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_name_and_a_password_are_told_when_asked_for() {
        let name: (&[u8], &[u8]) = (b"\x05\x01\x00\x03\x01h\x00\x50", DONE_V4);
        let hello: (&[u8], &[u8]) = (&[5, 2, 0, 2], &[5, 2]);
        let told: (&[u8], &[u8]) = (b"\x01\x02al\x03pw!", &[1, 0]);
        play("ws://h", Some(alice()), &[hello, told, name])
            .await
            .unwrap();
        let not_asked: (&[u8], &[u8]) = (&[5, 2, 0, 2], &[5, 0]);
        play("ws://h", Some(alice()), &[not_asked, name])
            .await
            .unwrap();
        let wrong: (&[u8], &[u8]) = (b"\x01\x02al\x03pw!", &[1, 1]);
        let refused = play("ws://h", Some(alice()), &[hello, wrong]).await;
        assert!(matches!(refused, Err(ProxyError::SocksCredentials)));
    }

    #[tokio::test]
    async fn refusals_and_nonsense() {
        let hello: (&[u8], &[u8]) = (&[5, 1, 0], &[5, 0]);
        let asked: &[u8] = b"\x05\x01\x00\x03\x01h\x00\x50";
        // Authentication that was not offered is not given, least of all when the proxy picks it unasked.
        for method in [2, 1, 255] {
            let result = play("ws://h", None, &[(&[5, 1, 0], &[5, method])]).await;
            assert!(matches!(result, Err(ProxyError::SocksMethod)), "{method}");
        }
        let http = play("ws://h", None, &[(&[5, 1, 0], b"HTTP/1.1 400")]).await;
        assert!(matches!(http, Err(ProxyError::NotSocks)));
        let refused = play("ws://h", None, &[hello, (asked, &[5, 5, 0, 1])]).await;
        let Err(error @ ProxyError::SocksReply(5)) = refused else {
            panic!("not refused")
        };
        assert_eq!(
            error.to_string(),
            "the proxy made no connection: the connection was refused"
        );
        let kind = play("ws://h", None, &[hello, (asked, &[5, 0, 0, 9])]).await;
        assert!(matches!(kind, Err(ProxyError::NotSocks)));
        let cut = play("ws://h", None, &[hello, (asked, &[5, 0, 0, 3, 200])]).await;
        assert!(matches!(cut, Err(ProxyError::Io(_))));
        let long = format!("ws://{}", vec!["a".repeat(60); 5].join("."));
        let result = play(&long, None, &[hello]).await;
        assert!(matches!(result, Err(ProxyError::SocksName)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_drips_runs_into_the_deadline() {
        let (here, mut there) = duplex(4096);
        let server = Address::parse("ws://h").unwrap().0;
        let deadline = Instant::now() + Duration::from_secs(10);
        let drip = async {
            for byte in [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80] {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if there.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        };
        let ask = tunnel(Stream::new(here), &server, None, deadline);
        let (result, ()) = tokio::join!(ask, drip);
        assert!(matches!(result, Err(ProxyError::Timeout)));
    }
}
