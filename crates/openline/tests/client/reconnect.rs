//! A client that comes back: when, how often, and with what. The clock is tokio's, held still.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openline::{Acceptor, Backoff, Cause, Client, CloseCode, Error, Event, Opening, Reconnecting};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Act {
    /// Accepts, says the target of the request, and closes with the code.
    Close(u16),
    /// The same after so many seconds.
    CloseAfter(u16, u64),
    /// Accepts, and drops the connection.
    Drop,
    /// Answers so much.
    Answer(&'static str),
}

/// A server that acts so, connection by connection, and closes with 1000 then.
async fn server(acts: &[Act]) -> String {
    let acts = Arc::new(Mutex::new(VecDeque::from(acts.to_vec())));
    let address = crate::servers::serve(move |stream| {
        let act = acts.lock().unwrap().pop_front().unwrap_or(Act::Close(1000));
        act.play(stream)
    })
    .await;
    format!("ws://{address}/")
}

impl Act {
    async fn play(self, mut stream: TcpStream) {
        if let Self::Answer(answer) = self {
            crate::servers::read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        let opening: Opening = Acceptor::default().read(stream).await.unwrap();
        let target = opening.request().uri().to_string();
        let mut ws = opening.accept().await.unwrap();
        ws.send(target).await.unwrap();
        let code = match self {
            Self::Close(code) => code,
            Self::CloseAfter(code, seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                code
            }
            Self::Drop | Self::Answer(_) => return,
        };
        ws.close(code.into(), "").await.unwrap();
    }
}

fn client(url: &str) -> Reconnecting {
    Reconnecting::new(Client::new(url).unwrap()).seed(1)
}

/// All that happens, each event by its name.
async fn events(mut ws: Reconnecting) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = ws.next().await {
        events.push(match event {
            Event::Connecting { attempt } => format!("connecting {attempt}"),
            Event::Connected(response) => format!("connected {}", response.status().as_u16()),
            Event::Message(message) => format!("message {}", message.as_text().unwrap()),
            Event::Disconnected { cause, retry_in } => {
                format!(
                    "disconnected {:?} {}",
                    cause.code().map(|c| c.0),
                    retry_in.is_some()
                )
            }
            other => panic!("{other:?}"),
        });
    }
    events
}

#[tokio::test]
async fn it_comes_back_after_what_may_pass_and_not_after_the_rest() {
    let url = server(&[
        Act::Close(1001),
        Act::Drop,
        Act::Answer("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"),
        Act::Close(1008),
    ])
    .await;
    let quick = Backoff::default().max(Duration::from_millis(5));
    assert_eq!(
        events(client(&url).backoff(quick)).await,
        [
            "connecting 1",
            "connected 101",
            "message /",
            "disconnected Some(1001) true",
            "connecting 2",
            "connected 101",
            "message /",
            "disconnected Some(1006) true",
            "connecting 3",
            "disconnected None true",
            "connecting 4",
            "connected 101",
            "message /",
            "disconnected Some(1008) false",
        ]
    );
}

#[tokio::test]
async fn the_program_may_decide_otherwise() {
    let url = server(&[Act::Close(4001), Act::Close(1001)]).await;
    let quick = Backoff::default().max(Duration::from_millis(5));
    let only_4001 = |cause: &Cause| cause.code() == Some(CloseCode(4001));
    let events = events(client(&url).backoff(quick).retry_if(only_4001)).await;
    let ends: Vec<_> = events.iter().filter(|e| e.starts_with("disc")).collect();
    assert_eq!(
        ends,
        [
            "disconnected Some(4001) true",
            "disconnected Some(1001) false"
        ]
    );
}

#[tokio::test]
async fn the_request_is_changed_before_a_try() {
    let url = server(&[Act::Close(1001), Act::Close(1001)]).await;
    let mut ws = client(&url).backoff(Backoff::default().max(Duration::from_millis(5)));
    let (mut targets, mut cursor) = (Vec::new(), 0);
    while let Some(event) = ws.next().await {
        match event {
            Event::Connecting { .. } => {
                ws.set_client(Client::new(&format!("{url}?since={cursor}")).unwrap());
                cursor += 1;
            }
            Event::Message(message) => targets.push(message.as_text().unwrap().to_owned()),
            _ => {}
        }
    }
    assert_eq!(targets, ["/?since=0", "/?since=1", "/?since=2"]);
}

/// The waits after failures in a row; nobody listens on the port.
async fn waits(backoff: Backoff, seed: u64) -> Vec<Duration> {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(&format!("ws://{gone}/")).unwrap();
    let mut ws = Reconnecting::new(client).backoff(backoff).seed(seed);
    let (mut waits, mut ended) = (Vec::new(), None);
    while let Some(event) = ws.next().await {
        match event {
            Event::Disconnected { retry_in, .. } => {
                waits.extend(retry_in);
                ended = Some(Instant::now());
            }
            Event::Connecting { .. } => {
                if let (Some(ended), Some(wait)) = (ended, waits.last()) {
                    let waited = Instant::now() - ended;
                    // The clock of timers ticks by the millisecond.
                    assert!(waited >= *wait && waited <= *wait + Duration::from_millis(1));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn waits_grow_are_jittered_and_bounded() {
    let backoff = Backoff::default()
        .min(Duration::from_secs(1))
        .max(Duration::from_secs(60))
        .max_attempts(Some(20));
    let one = waits(backoff.clone(), 1).await;
    assert_eq!(one.len(), 19);
    assert_eq!(
        one,
        waits(backoff.clone(), 1).await,
        "the same seed, the same waits"
    );
    assert_ne!(one, waits(backoff.clone(), 2).await);
    let ceilings = (0..19).map(|n| Duration::from_secs((1u64 << n).min(60)));
    for (wait, ceiling) in one.iter().zip(ceilings) {
        assert!(*wait <= ceiling, "{wait:?} is longer than {ceiling:?}");
    }
    // Full jitter: over the whole of the range, not around its end.
    assert!(one[6..].iter().any(|wait| wait.as_secs() < 20), "{one:?}");
    assert!(one[6..].iter().any(|wait| wait.as_secs() > 40), "{one:?}");
    let forever = Backoff::default()
        .min(Duration::MAX)
        .max(Duration::MAX)
        .max_attempts(Some(2));
    assert_eq!(waits(forever, 1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_a_limit() {
    let url = server(&[
        Act::Answer("HTTP/1.1 429 X\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n"),
        Act::Answer(
            "HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
        ),
    ])
    .await;
    let mut ws = client(&url);
    let mut waits = Vec::new();
    while let Some(event) = ws.next().await {
        if let Event::Disconnected {
            retry_in: Some(wait),
            ..
        } = event
        {
            waits.push(wait.as_secs());
        }
    }
    assert!(
        waits[0] == 100 && (600..=601).contains(&waits[1]),
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lasted_makes_up_for_failures() {
    let url = server(&[
        Act::Close(1001),
        Act::Close(1001),
        Act::CloseAfter(1001, 40),
    ])
    .await;
    let attempts: Vec<_> = events(client(&url)).await;
    let attempts: Vec<_> = attempts
        .iter()
        .filter(|e| e.starts_with("connecting"))
        .collect();
    assert_eq!(
        attempts,
        [
            "connecting 1",
            "connecting 2",
            "connecting 3",
            "connecting 2"
        ]
    );
}

#[tokio::test]
async fn closing_ends_it_whatever_the_state() {
    let mut ws = client("ws://127.0.0.1:1/");
    assert!(matches!(ws.send("x").await, Err(Error::NotConnected)));
    assert!(!ws.close(CloseCode::NORMAL, "").await.unwrap().clean);
    assert!(ws.next().await.is_none());

    let (server, _) = crate::servers::echo_server().await;
    let mut ws = client(&format!("ws://{server}/"));
    while !matches!(ws.next().await, Some(Event::Connected(_))) {}
    ws.send("hello").await.unwrap();
    assert!(matches!(ws.next().await, Some(Event::Message(m)) if m.as_text() == Some("hello")));
    assert!(matches!(
        ws.close(CloseCode(1005), "").await,
        Err(Error::Send(_))
    ));
    assert!(ws.websocket().is_some());
    // A close that is dropped at its first wait has closed it all the same: 1001 does not bring it back.
    let dropped =
        pin!(ws.close(CloseCode::GOING_AWAY, "")).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(dropped, Poll::Pending));
    match ws.next().await {
        Some(Event::Disconnected {
            cause: Cause::Closed(closed),
            retry_in: None,
        }) => {
            assert_eq!(closed.sent.unwrap().code, CloseCode::GOING_AWAY);
            assert!(closed.clean);
        }
        other => panic!("{other:?}"),
    }
    assert!(ws.next().await.is_none());
}

#[tokio::test]
async fn attack_29_next_is_dropped_at_every_wait_client() {
    let acts = [
        Act::Close(1001),
        Act::Drop,
        Act::Answer("HTTP/1.1 500 X\r\n\r\n"),
        Act::Close(1000),
    ];
    let url = server(&acts).await;
    let quick = Backoff::default().max(Duration::from_millis(5));
    let whole = events(client(&url).backoff(quick.clone())).await;

    let url = server(&acts).await;
    let mut ws = client(&url).backoff(quick);
    let (mut count, mut drops) = (0, 0);
    loop {
        let polled = pin!(ws.next()).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(Some(_)) => count += 1,
            Poll::Ready(None) => break,
            Poll::Pending => drops += 1,
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(count, whole.len());
    assert!(drops > 10, "only {drops} futures were dropped");
}
