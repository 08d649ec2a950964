//! The end of a server: everybody is told, and what is under way is finished.

use std::time::Duration;

use openline::{Client, CloseCode};

use crate::common::{Harness, json, request, soon};

#[tokio::test]
async fn everybody_is_let_go_properly() {
    let mut server = Harness::start().await;
    let cursor = server.publish("a", "1").await;

    let mut events = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    let mut lines = server
        .stream("/channels/a", &[("Accept", "application/x-ndjson")])
        .await;
    for _ in 0..2 {
        events.event().await.unwrap();
        lines.object().await.unwrap();
    }
    let mut idle = server.connect().await;
    idle.send(&request("GET", "/channels/a", &[], b"")).await;
    assert_eq!(idle.response("GET").await.text(), "1");
    let mut held = server.connect().await;
    let etag = format!("\"{cursor}\"");
    let headers = [("If-None-Match", etag.as_str()), ("Prefer", "wait=60")];
    held.send(&request("GET", "/channels/a", &headers, b""))
        .await;
    let mut page = server.connect().await;
    let path = format!("/channels/a?since={cursor}");
    page.send(&request("GET", &path, &[("Prefer", "wait=60")], b""))
        .await;
    let url = format!("ws://{}/channels/a", server.address);
    let (mut socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
    assert_eq!(
        soon(socket.next()).await.unwrap().unwrap().as_text(),
        Some("1")
    );
    let mut publishing = server.publication_under_way("/channels/b", &[]).await;

    server.shut_down();
    assert!(events.event().await.is_none());
    assert!(lines.object().await.is_none());
    let held = held.response("GET").await;
    assert_eq!((held.status, held.header("connection")), (304, "close"));
    assert_eq!(json(&page.response("GET").await.body)["recovered"], true);
    assert!(idle.is_at_end().await);
    assert!(soon(socket.next()).await.is_none());
    assert_eq!(
        socket.closed().unwrap().received.unwrap().code,
        CloseCode::RESTART
    );
    publishing.send(b"x").await;
    assert_eq!(publishing.response("POST").await.status, 201);
    let address = server.address;
    assert_eq!(server.ended().await.cut, 0);
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

/// Who comes back on it would be told 503, after which an `EventSource` does not come again.
#[tokio::test]
async fn the_end_of_a_stream_is_its_connections_end() {
    for form in ["text/event-stream", "application/x-ndjson"] {
        let mut server = Harness::start().await;
        let mut stream = server.stream("/channels/a", &[("Accept", form)]).await;
        server.publish("a", "1").await;
        while !stream.until("\n").await.unwrap().contains('1') {}
        // It goes on after the streams.
        let mut publishing = server.publication_under_way("/channels/b", &[]).await;
        server.shut_down();
        while stream.until("\n").await.is_some() {}
        stream.send(&request("GET", "/channels/a", &[], b"")).await;
        assert!(stream.is_gone().await, "{form}");
        publishing.send(b"x").await;
        assert_eq!(publishing.response("POST").await.status, 201);
    }
}

/// Who publishes on a connection that it keeps is told whether it was heard, and that it was the last time there.
#[tokio::test]
async fn a_kept_connection_is_answered_once_more() {
    let (taken, refused) = (kept_connections(true).await, kept_connections(false).await);
    assert!(taken.iter().all(|status| *status == 201), "{taken:?}");
    assert!(refused.contains(&503), "{refused:?}");
}

/// Publishes on ten of them when the server has been told to end; the answers' statuses. Something else is under way, so
/// that the log is not closed, or not.
async fn kept_connections(is_busy: bool) -> Vec<u16> {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Harness::with(|config| config.data_dir = Some(dir.path().to_owned())).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut connection = server.connect().await;
        connection
            .send(&request("POST", "/channels/a", &[], b"1"))
            .await;
        let response = connection.response("POST").await;
        assert_eq!((response.status, response.header("connection")), (201, ""));
        kept.push(connection);
    }
    let mut publishing = None;
    if is_busy {
        publishing = Some(server.publication_under_way("/channels/b", &[]).await);
    }
    server.shut_down();
    if !is_busy {
        while server
            .publisher
            .publish("b", "text/plain", "1")
            .await
            .is_ok()
        {}
    }
    let mut statuses = Vec::new();
    for connection in &mut kept {
        connection
            .send(&request("POST", "/channels/a", &[], b"2"))
            .await;
    }
    for connection in &mut kept {
        let response = connection.response("POST").await;
        assert_eq!(response.header("connection"), "close");
        if response.status == 503 {
            assert!(response.problem(503, "unavailable").contains("going down"));
            assert_eq!(response.header("retry-after"), "1");
        }
        assert!(connection.is_at_end().await);
        statuses.push(response.status);
    }
    if let Some(publishing) = &mut publishing {
        publishing.send(b"x").await;
        assert_eq!(publishing.response("POST").await.status, 201);
    }
    assert_eq!(server.ended().await.cut, 0);
    statuses
}

#[tokio::test]
async fn what_does_not_end_is_cut() {
    let mut server = Harness::with(|config| {
        config.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let _publishing = server.publication_under_way("/channels/b", &[]).await;
    server.shut_down();
    assert_eq!(server.ended().await.cut, 1);
}

#[tokio::test]
async fn a_websocket_that_does_not_answer_is_cut() {
    let mut server = Harness::with(|config| {
        config.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let url = format!("ws://{}/channels/a", server.address);
    // It is not read, so the server's Close is not answered.
    let (socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
    server.shut_down();
    assert_eq!(server.ended().await.cut, 1);
    drop(socket);
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_no_websocket_behind() {
    let server = Harness::start().await;
    let url = format!("ws://{}/channels/a", server.address);
    let (mut socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
    server.publish("a", "1").await;
    assert!(soon(socket.next()).await.unwrap().is_ok());
    server.cut().await;
    assert!(soon(socket.next()).await.unwrap().is_err(), "no goodbye");
    assert!(soon(socket.next()).await.is_none());
}

#[tokio::test]
async fn who_listened_comes_back_on_another_connection() {
    let mut server = Harness::start().await;
    let mut stream = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    assert_eq!(stream.event().await.unwrap().name, "ready");
    server.shut_down();
    assert!(stream.event().await.is_none());
    // The next server can answer that, and this one would only refuse it.
    stream.send(&request("GET", "/channels/a", &[], b"")).await;
    assert!(stream.is_at_end().await);
}

#[tokio::test]
async fn a_stream_with_much_to_send_ends_before_it() {
    const COUNT: usize = 100;
    let mut server = Harness::with(|config| config.history.bytes = 40 << 20).await;
    let first = server.publish("a", "first").await;
    let filler = "x".repeat(200_000);
    for _ in 0..COUNT {
        server.publish("a", &filler).await;
    }
    let path = format!("/channels/a?since={first}");
    let mut stream = server
        .stream(&path, &[("Accept", "text/event-stream")])
        .await;
    assert_eq!(stream.event().await.unwrap().name, "ready");
    server.shut_down();
    let mut seen = 0;
    while stream.event().await.is_some() {
        seen += 1;
    }
    assert!(seen < COUNT, "20 MB do not fit in the sockets");
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn a_publisher_outlives_the_server() {
    let mut server = Harness::start().await;
    let publisher = server.publisher.clone();
    server.shut_down();
    server.ended().await;
    publisher.publish("a", "text/plain", "1").await.unwrap();
}
