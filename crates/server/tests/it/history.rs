//! What a namespace keeps, as clients see it.

use std::time::Duration;

use openline_server::{Config, Namespace};

use crate::common::Harness;

fn keeping(config: &mut Config, name: &str, count: usize) {
    let mut namespace = Namespace::default();
    namespace.history.count = Some(count);
    config.namespaces.insert(name.to_owned(), namespace);
}

async fn first_event(server: &Harness, channel: &str, cursor: &str) -> String {
    let headers = [("Accept", "text/event-stream"), ("Last-Event-ID", cursor)];
    let mut stream = server
        .stream(&format!("/channels/{channel}"), &headers)
        .await;
    stream.event().await.unwrap().name
}

#[tokio::test]
async fn who_comes_back_to_what_is_not_kept_is_told_of_the_gap() {
    let server = Harness::with(|config| keeping(config, "now", 0)).await;
    let mut here = server
        .stream("/channels/now/x", &[("Accept", "text/event-stream")])
        .await;
    let ready = here.event().await.unwrap();
    let first = server.publish("now/x", "1").await;
    server.publish("now/x", "2").await;
    let events = [here.event().await.unwrap(), here.event().await.unwrap()];
    assert_eq!(
        events.each_ref().map(|event| event.data.as_str()),
        ["1", "2"]
    );

    let got = server.get("/channels/now/x", &[]).await;
    got.problem(404, "no-publication");
    for (cursor, name) in [
        (&ready.id, "gap"),
        (&first, "gap"),
        (&events[1].id, "ready"),
    ] {
        assert_eq!(first_event(&server, "now/x", cursor).await, name);
        let page = server
            .get(&format!("/channels/now/x?since={cursor}"), &[])
            .await;
        assert_eq!(page.json()["recovered"], name == "ready");
        assert_eq!(page.json()["publications"].as_array().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn a_reload_changes_what_is_kept_of_what_is_there() {
    let server = Harness::with(|config| keeping(config, "a", 5)).await;
    let mut cursors = Vec::new();
    for number in 0..5 {
        cursors.push(server.publish("a/x", &number.to_string()).await);
        server.publish("b", "else").await;
    }
    assert_eq!(first_event(&server, "a/x", &cursors[0]).await, "ready");
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    keeping(&mut config, "a", 2);
    config.history.age = Duration::from_secs(3600);
    assert_eq!(server.reload.apply(config).unwrap(), [""; 0]);
    assert_eq!(first_event(&server, "a/x", &cursors[1]).await, "gap");
    assert_eq!(first_event(&server, "a/x", &cursors[2]).await, "ready");
    assert_eq!(first_event(&server, "b", &cursors[0]).await, "ready");
}
