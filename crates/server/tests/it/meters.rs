//! Meters: what each way to listen costs, as the server counts it.

use openline::Client;
use serde_json::{Value, json};

use crate::common::{Harness, Issuer, request, soon};

async fn meters(server: &Harness, names: &[&str]) -> Value {
    let query: Vec<_> = names.iter().map(|name| format!("name={name}")).collect();
    let got = server
        .get(&format!("/meters?{}", query.join("&")), &[])
        .await;
    assert_eq!(got.header("cache-control"), "no-store");
    let answer = got.json();
    assert!(
        answer["time"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    answer["meters"].clone()
}

fn counts(requests: u64, up: u64, down: u64) -> Value {
    json!({"requests": requests, "bytes_up": up, "bytes_down": down})
}

#[tokio::test]
async fn each_byte_of_a_request_is_counted_to_its_meter() {
    let server = Harness::with(|config| config.pages = true).await;
    server.publish("a", "1").await;
    let mut connection = server.connect().await;
    let (mut poll, mut post) = ((0, 0), (0, 0));
    for _ in 0..3 {
        let before = (connection.sent, connection.received);
        connection
            .send(&request("GET", "/channels/a?meter=poll", &[], b""))
            .await;
        connection.response("GET").await;
        poll.0 += connection.sent - before.0;
        poll.1 += connection.received - before.1;
        // The same connection, another meter, and none at all.
        let before = (connection.sent, connection.received);
        let body = [b'x'; 10_000];
        connection
            .send(&request("POST", "/channels/b?meter=post", &[], &body))
            .await;
        connection.response("POST").await;
        post.0 += connection.sent - before.0;
        post.1 += connection.received - before.1;
        connection
            .send(&request("GET", "/channels/a", &[], b""))
            .await;
        connection.response("GET").await;
    }
    assert_eq!(
        meters(&server, &["poll", "post", "none"]).await,
        json!({
            "poll": counts(3, poll.0, poll.1),
            "post": counts(3, post.0, post.1),
            "none": counts(0, 0, 0),
        })
    );
}

#[tokio::test]
async fn a_stream_is_counted_as_it_flows() {
    let server = Harness::with(|config| config.pages = true).await;
    let headers = [("Accept", "text/event-stream")];
    let mut stream = server.stream("/channels/a?meter=sse", &headers).await;
    stream.event().await.unwrap();
    for number in 0..3 {
        server.publish("a", &number.to_string()).await;
        stream.event().await.unwrap();
        let wanted = json!({"sse": counts(1, stream.sent, stream.received)});
        assert_eq!(meters(&server, &["sse"]).await, wanted);
    }
}

#[tokio::test]
async fn a_websocket_is_counted_from_its_handshake_on() {
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        config.pages = true;
        config.token.secret = Some(issuer.shared());
        config.anonymous.subscribe = Some(true);
    })
    .await;
    let url = format!("ws://{}/channels/a?meter=ws", server.address);
    let client = Client::new(&url).unwrap().subprotocol("openline.v1");
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    soon(socket.next()).await.unwrap().unwrap();
    let before = meters(&server, &["ws"]).await["ws"].clone();
    assert_eq!(before["requests"], 1);
    let handshake = before["bytes_down"].as_u64().unwrap() - socket.traffic().received;
    assert!((100..400).contains(&handshake), "{before}");

    let token = issuer.token(json!({}));
    let renewal = json!({ "token": token }).to_string();
    socket.send(renewal.as_str()).await.unwrap();
    for _ in 0..3 {
        server.publish("a", &"x".repeat(1000)).await;
        soon(socket.next()).await.unwrap().unwrap();
    }
    let after = meters(&server, &["ws"]).await["ws"].clone();
    assert_eq!(after["requests"], 1);
    assert_eq!(
        after["bytes_down"].as_u64().unwrap(),
        handshake + socket.traffic().received
    );
    let up = after["bytes_up"].as_u64().unwrap() - before["bytes_up"].as_u64().unwrap();
    assert_eq!(up, socket.traffic().sent);
}

#[tokio::test]
async fn meters_are_there_with_the_pages_only() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    assert_eq!(server.get("/channels/a?meter=x", &[]).await.text(), "1");
    server
        .get("/meters?name=x", &[])
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn questions_that_are_none_are_refused() {
    let server = Harness::with(|config| config.pages = true).await;
    server
        .get("/meters?name=a+b", &[])
        .await
        .problem(400, "bad-request");
    let many: Vec<_> = (0..101).map(|name| format!("name={name}")).collect();
    server
        .get(&format!("/meters?{}", many.join("&")), &[])
        .await
        .problem(400, "bad-request");
    server
        .post("/meters", &[], b"")
        .await
        .problem(405, "method");
    assert_eq!(meters(&server, &[]).await, json!({}));
}
