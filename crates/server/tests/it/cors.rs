//! Who may ask: the server's names, and web pages.

use crate::common::{Harness, Response};

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// The same, as every method and transport answers it.
async fn on_all(server: &Harness, header: (&str, &str)) -> Vec<Response> {
    let mut answers = Vec::new();
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"] {
        answers.push(server.request(method, "/channels/a", &[header], b"").await);
    }
    for accept in ["text/event-stream", "application/x-ndjson"] {
        answers.push(
            server
                .get("/channels/a", &[header, ("Accept", accept)])
                .await,
        );
    }
    answers.push(server.get("/channels/*?since=", &[header]).await);
    answers.push(
        server
            .get("/channels/a", &[&[header], &UPGRADE[..]].concat())
            .await,
    );
    answers.push(server.get("/meters", &[header]).await);
    answers.push(server.get("/nothing", &[header]).await);
    answers
}

fn is_problem(answer: &Response, kind: &str) {
    if answer.body.is_empty() {
        assert_eq!(answer.status, 403);
    } else {
        answer.problem(403, kind);
    }
}

#[tokio::test]
async fn attack_23_a_foreign_name_is_refused_on_every_transport_server() {
    let server = Harness::with(|config| {
        config.pages = true;
        config.allow_origins = vec!["*".into()];
    })
    .await;
    for host in ["evil.example", "localhost.evil.example:8000", "192.0.2.1"] {
        for answer in on_all(&server, ("Host", host)).await {
            is_problem(&answer, "foreign-host");
        }
        for path in ["/", "/assets/app.js"] {
            server
                .get(path, &[("Host", host)])
                .await
                .problem(403, "foreign-host");
        }
    }
}

#[tokio::test]
async fn own_names_are_let_in() {
    let server = Harness::with(|config| config.allow_hosts = vec!["push.example".into()]).await;
    server.publish("a", "1").await;
    let bound = server.address.to_string();
    for host in [
        bound.as_str(),
        "localhost",
        "LOCALHOST:80",
        "[::1]:9",
        // An empty port is none.
        "127.0.0.1:",
        "push.example:443",
    ] {
        assert_eq!(
            server.get("/channels/a", &[("Host", host)]).await.text(),
            "1",
            "{host}"
        );
    }
    let mut connection = server.connect().await;
    connection.send(b"GET /channels/a HTTP/1.1\r\n\r\n").await;
    connection.response("GET").await.problem(400, "bad-request");
    let twice = [("Host", "localhost"), ("Host", "localhost")];
    server
        .get("/channels/a", &twice)
        .await
        .problem(400, "bad-request");
    let malformed = server.get("/channels/a", &[("Host", "a b")]).await;
    let detail = malformed.problem(400, "bad-request");
    assert!(
        detail.starts_with("the Host \"a b\" is malformed"),
        "{detail}"
    );
    // The target's own authority counts (RFC 9112 §3.2.2).
    server
        .get("http://evil.example/channels/a", &[])
        .await
        .problem(403, "foreign-host");
    assert_eq!(
        server.get("http://localhost/channels/a", &[]).await.text(),
        "1"
    );
}

#[tokio::test]
async fn attack_23_a_foreign_page_is_refused_on_every_transport_server() {
    let server = Harness::with(|config| {
        config.pages = true;
        config.allow_origins = vec!["https://app.example".into()];
    })
    .await;
    for foreign in [
        ("Origin", "https://evil.example"),
        ("Origin", "http://localhost:1"),
        ("Origin", "http://app.example"),
        ("Origin", "https://app.example.evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for answer in on_all(&server, foreign).await {
            is_problem(&answer, "foreign-origin");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            assert_eq!(answer.header("vary"), "Accept, Prefer, Origin");
            assert_eq!(answer.header("cache-control"), "no-cache");
        }
        // A link to the page may stand anywhere.
        assert_eq!(server.get("/", &[foreign]).await.status, 200);
    }
    server
        .get("/channels/a", &[])
        .await
        .problem(404, "no-publication");
}

#[tokio::test]
async fn the_servers_own_pages_are_let_in() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    for headers in [
        [
            ("Host", "localhost:8000"),
            ("Origin", "http://localhost:8000"),
        ],
        [("Host", "localhost"), ("Origin", "https://localhost")],
        [("Host", "localhost"), ("Sec-Fetch-Site", "same-origin")],
        [("Host", "localhost"), ("Sec-Fetch-Site", "none")],
    ] {
        let got = server.get("/channels/a", &headers).await;
        assert_eq!(got.text(), "1", "{headers:?}");
        assert_eq!(got.header("vary"), "Accept, Prefer");
        assert_eq!(got.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn an_allowed_page_is_let_in_and_told_so() {
    let server = Harness::with(|config| {
        config.allow_origins = vec![
            "https://app.example".into(),
            "http://Other.example:80".into(),
        ];
    })
    .await;
    server.publish("a", "1").await;
    for origin in ["https://app.example", "http://other.example"] {
        let headers = [("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
        for path in ["/channels/a", "/channels/none", "/channels/a?limit=0"] {
            let got = server.get(path, &headers).await;
            assert_eq!(got.header("access-control-allow-origin"), origin);
            assert_eq!(got.header("vary"), "Accept, Prefer, Origin");
            let exposed = got.header("access-control-expose-headers");
            for name in ["ETag", "Preference-Applied", "Retry-After"] {
                assert!(exposed.contains(name));
            }
        }
        let upgrade = [&headers[..], &UPGRADE[..]].concat();
        assert_eq!(server.get("/channels/a", &upgrade).await.status, 101);
    }
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let server =
        Harness::with(|config| config.allow_origins = vec!["https://app.example".into()]).await;
    let asks = ("Access-Control-Request-Method", "POST");
    let headers = [("Origin", "https://app.example"), asks];
    for path in ["/channels/a", "/channels/a/*"] {
        let got = server.request("OPTIONS", path, &headers, b"").await;
        assert_eq!(got.status, 204);
        assert_eq!(
            got.header("access-control-allow-origin"),
            "https://app.example"
        );
        let methods = got.header("access-control-allow-methods");
        assert!(methods.contains("POST") && methods.contains("DELETE"));
        let allowed = got
            .header("access-control-allow-headers")
            .to_ascii_lowercase();
        for name in [
            "content-type",
            "idempotency-key",
            "if-none-match",
            "prefer",
            "last-event-id",
        ] {
            assert!(allowed.contains(name), "{name}");
        }
        for name in [
            "Origin",
            "Access-Control-Request-Method",
            "Access-Control-Request-Headers",
        ] {
            assert!(got.header("vary").contains(name), "{name}");
        }
    }
    let headers = [("Origin", "https://evil.example"), asks];
    server
        .request("OPTIONS", "/channels/a", &headers, b"")
        .await
        .problem(403, "foreign-origin");
}

#[tokio::test]
async fn all_pages_are_let_in_where_all_are_allowed() {
    let server = Harness::with(|config| config.allow_origins = vec!["*".into()]).await;
    server.publish("a", "1").await;
    for headers in [("Origin", "null"), ("Origin", "https://any.example")] {
        let got = server.get("/channels/a", &[headers]).await;
        assert_eq!(
            (got.text(), got.header("access-control-allow-origin")),
            ("1", "*")
        );
    }
    let got = server
        .get("/channels/a", &[("Sec-Fetch-Site", "cross-site")])
        .await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn a_server_does_not_start_with_names_that_are_none() {
    let bind = async |change: fn(&mut openline_server::Config)| {
        let mut config = openline_server::Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Default::default()
        };
        change(&mut config);
        openline_server::Server::bind(config)
            .await
            .unwrap_err()
            .to_string()
    };
    let error = bind(|config| config.allow_origins = vec!["app.example".into()]).await;
    assert!(error.contains("\"app.example\" is not an origin"));
    let error = bind(|config| config.allow_hosts = vec!["https://a".into()]).await;
    assert!(error.contains("\"https://a\" is not a host name"));
    let error = bind(|config| config.allow_hosts = vec!["*".into()]).await;
    assert!(error.contains("name each host"));
}
