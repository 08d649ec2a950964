//! Rights that end while somebody listens.

use openline::CloseCode;

use super::*;

/// What an open connection says next, and how it ends.
async fn closed(socket: &mut WebSocket) -> (CloseCode, String) {
    if let Some(said) = soon(socket.next()).await {
        panic!("{said:?}");
    }
    let close = socket.closed().unwrap().received.unwrap();
    (close.code, close.reason.to_string())
}

async fn open(server: &Harness, token: &str) -> WebSocket {
    let url = format!("ws://{}/channels/a?token={token}", server.address);
    let client = Client::new(&url).unwrap().subprotocol("openline.v1");
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    soon(socket.next()).await.unwrap().unwrap();
    socket
}

#[tokio::test]
async fn a_right_that_ends_ends_every_kind_of_listening() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    let short =
        || issuer.token(json!({"exp": seconds_from_now(2), "openline": {"subscribe": ["**"]}}));
    let token = short();
    let path = format!("/channels/a?token={token}");
    let mut events = server.stream(&path, &[LISTEN]).await;
    let mut lines = server
        .stream(&path, &[("Accept", "application/x-ndjson")])
        .await;
    let mut socket = open(&server, &token).await;
    let mut held = server.connect().await;
    let wait = [("Prefer", "wait=60")];
    held.send(&crate::common::request("GET", &path, &wait, b""))
        .await;

    assert_eq!(events.event().await.unwrap().name, "ready");
    let last = events.event().await.unwrap();
    assert_eq!((last.name.as_str(), last.id.as_str()), ("expired", ""));
    assert_eq!(events.event().await, None);
    lines.object().await.unwrap();
    assert_eq!(lines.object().await.unwrap(), json!({"expired": true}));
    assert_eq!(lines.object().await, None);
    let (code, reason) = closed(&mut socket).await;
    assert_eq!(code, CloseCode::POLICY);
    assert!(reason.contains("expired"), "{reason}");
    held.response("GET").await.problem(404, "no-publication");
    get(&server, "/channels/a", &token)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_new_token_renews_the_right_of_an_open_connection() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    let listen = |seconds: i64| {
        issuer.token(json!({
            "exp": seconds_from_now(seconds), "openline": {"subscribe": ["a"]}
        }))
    };
    let first = listen(2);
    let mut renewed = open(&server, &first).await;
    let mut left = open(&server, &first).await;
    let renewal = json!({"token": listen(3600)}).to_string();
    renewed.send(renewal.as_str()).await.unwrap();
    assert_eq!(closed(&mut left).await.0, CloseCode::POLICY);
    server.publish("a", "still open").await;
    let said = soon(renewed.next()).await.unwrap().unwrap();
    assert!(said.as_text().unwrap().contains("still open"));

    for (token, told) in [
        (
            issuer.token(json!({"openline": {"subscribe": ["b"]}})),
            "does not let you",
        ),
        ("nonsense".to_owned(), "not accepted"),
    ] {
        let mut socket = open(&server, &listen(3600)).await;
        soon(socket.next()).await.unwrap().unwrap();
        let renewal = json!({ "token": token }).to_string();
        socket.send(renewal.as_str()).await.unwrap();
        let (code, reason) = closed(&mut socket).await;
        assert_eq!(code, CloseCode::POLICY);
        assert!(reason.contains(told), "{reason}");
    }
}
