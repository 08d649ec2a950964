//! Futures that are dropped where they wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::{echoes, http2, start};

/// Polls a future so many times, unless it is done before, then drops it.
async fn some<T>(mut polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn an_opening_that_is_dropped_at_any_point_leaves_nothing_behind() {
    let server = start(http2().max_connections(3)).await;
    let connection = server.connect().await;
    for round in 0..200 {
        // Every place comes back, so that there is one for each round.
        let opened = loop {
            match some(round % 8, connection.open(server.client(""))).await {
                Some(Err(error)) => assert_eq!(error.response().unwrap().status(), 503),
                other => break other,
            }
        };
        if let Some(Ok((mut ws, _))) = opened {
            echoes(&mut ws, "hello").await;
        }
    }
    let (mut ws, _) = loop {
        match connection.open(server.client("")).await {
            Ok(opened) => break opened,
            Err(error) => assert_eq!(error.response().unwrap().status(), 503),
        }
    };
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn a_connecting_that_is_dropped_at_any_point_harms_nobody() {
    let server = start(http2()).await;
    for polls in 0..30 {
        some(polls % 10, server.client("").connect_http2()).await;
    }
    let connection = server.connect().await;
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn no_message_is_lost_torn_or_doubled_by_futures_that_are_dropped() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    let messages: Vec<String> = (0..300)
        .map(|n| format!("{n} ").repeat(n * 3 + 1))
        .collect();
    let (mut fed, mut heard) = (0, Vec::new());
    while heard.len() < messages.len() {
        if fed < messages.len() && ws.feed(messages[fed].as_str()).is_ok() {
            fed += 1;
        }
        let _ = some(0, ws.flush()).await;
        if let Some(message) = some(fed % 3, ws.next()).await {
            heard.push(message.unwrap().unwrap().as_text().unwrap().to_owned());
        }
        tokio::task::yield_now().await;
    }
    assert!(heard == messages);
    let closing = ws.close(openline::CloseCode::NORMAL, "");
    assert!(
        tokio::time::timeout(Duration::from_secs(10), closing)
            .await
            .unwrap()
            .unwrap()
            .clean
    );
}
