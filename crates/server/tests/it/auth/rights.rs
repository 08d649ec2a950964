//! Rights: of keys, of tokens, and of those who bring nothing.

use super::*;

#[tokio::test]
async fn with_a_key_nobody_else_may_do_anything() {
    let mut key = String::new();
    let server = Harness::with(|config| key = with_key(config, "backend", |_| {})).await;
    server.publish("a", "1").await;
    for (method, headers) in [
        ("GET", &[][..]),
        ("GET", &[LISTEN][..]),
        ("GET", &[("Accept", "application/x-ndjson")][..]),
        ("GET", &[("Prefer", "wait=10")][..]),
        ("POST", &[][..]),
        ("DELETE", &[][..]),
    ] {
        let got = server.request(method, "/channels/a", headers, b"").await;
        let detail = got.problem(401, "unauthorized");
        assert!(detail.contains("Authorization: Bearer"), "{detail}");
        assert_eq!(got.header("www-authenticate"), "Bearer realm=\"openline\"");
        assert_eq!(got.header("cache-control"), "no-cache");
    }
    let got = server.get("/channels/**?since=", &[]).await;
    got.problem(401, "unauthorized");
    let url = format!("ws://{}/channels/a", server.address);
    let refused = soon(Client::new(&url).unwrap().connect()).await;
    assert_eq!(status(refused), 401);

    let plain = key.strip_prefix("Bearer ").unwrap();
    for credential in [("Authorization", key.as_str()), ("X-API-Key", plain)] {
        assert_eq!(
            server.post("/channels/b", &[credential], b"2").await.status,
            201
        );
        assert_eq!(server.get("/channels/a", &[credential]).await.text(), "1");
    }
}

#[tokio::test]
async fn a_credential_that_is_wrong_is_refused_also_where_none_is_needed() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    for wrong in ["Bearer nonsense", "Bearer a.b.c", "Bearer "] {
        let got = server.get("/channels/a", &[("Authorization", wrong)]).await;
        got.problem(401, "unauthorized");
        assert!(got.header("www-authenticate").contains("invalid_token"));
    }
    let got = server
        .get("/channels/a?token=x", &[("X-API-Key", "y")])
        .await;
    assert!(got.problem(400, "bad-request").contains("two credentials"));
    // A proxy's own affair.
    let basic = [("Authorization", "Basic eDp5")];
    assert_eq!(server.get("/channels/a", &basic).await.text(), "1");
}

#[tokio::test]
async fn what_may_not_be_seen_looks_the_same_whether_it_is_there_or_not() {
    let mut key = String::new();
    let server = Harness::with(|config| {
        key = with_key(config, "half", |key| {
            key.publish = filters(&["own/**"]);
            key.subscribe = filters(&["own/*"]);
            key.history = filters(&["log"]);
        });
    })
    .await;
    server.publish("secret/there", "1").await;
    let credential = ("Authorization", key.as_str());
    for headers in [&[credential][..], &[]] {
        for (method, extra) in [
            ("GET", None),
            ("GET", Some(LISTEN)),
            ("GET", Some(("If-None-Match", "*"))),
            ("POST", Some(("Idempotency-Key", "k"))),
            ("DELETE", None),
        ] {
            let headers: Vec<_> = headers.iter().copied().chain(extra).collect();
            let mut answers = Vec::new();
            for name in ["secret/there", "secret/never"] {
                let path = format!("/channels/{name}");
                let mut got = server.request(method, &path, &headers, b"").await;
                assert!(matches!(got.status, 401 | 403), "{got:?}");
                let body = got.text().replace(name, "X");
                got.headers.remove("date");
                got.headers.remove("content-length");
                answers.push((got.status, got.headers, body));
            }
            assert_eq!(answers[0], answers[1], "{method} {extra:?}");
        }
    }

    let get = async |path: &str| server.get(path, &[credential]).await;
    assert_eq!(get("/channels/own/a").await.status, 404);
    assert_eq!(get("/channels/own/*?since=").await.status, 200);
    for wider in [
        "/channels/own/**?since=",
        "/channels/*/a?since=",
        "/channels/**",
    ] {
        get(wider).await.problem(403, "forbidden");
    }
    // To read is less than to listen.
    assert_eq!(get("/channels/log").await.status, 404);
    let got = server.get("/channels/log", &[credential, LISTEN]).await;
    got.problem(403, "forbidden");
    let got = server
        .get("/channels/log", &[credential, ("Prefer", "wait=1")])
        .await;
    got.problem(403, "forbidden");
    let got = server.post("/channels/own/a/b", &[credential], b"1").await;
    assert_eq!(got.status, 201);
    let got = server.post("/channels/log", &[credential], b"1").await;
    got.problem(403, "forbidden");
}

#[tokio::test]
async fn to_read_what_is_kept_is_a_right_of_its_own_and_listening_has_it_too() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    let first = server.publish("a", "1").await;
    server.publish("a", "2").await;
    let with = |rights: Value| issuer.token(json!({"openline": rights}));

    let reads = with(json!({"history": ["a"]}));
    let page = format!("/channels/a?since={first}");
    let got = get(&server, &page, &reads).await;
    assert_eq!(got.json()["publications"][0]["data"], "2");
    let fields = [("Authorization", &*bearer(&reads)), LISTEN];
    server
        .get("/channels/a", &fields)
        .await
        .problem(403, "forbidden");
    let held = [("Authorization", &*bearer(&reads)), ("Prefer", "wait=30")];
    server.get(&page, &held).await.problem(403, "forbidden");

    let listens = with(json!({"subscribe": ["a"]}));
    assert_eq!(get(&server, &page, &listens).await.status, 200);
    let fields = [("Authorization", &*bearer(&listens)), LISTEN];
    let mut stream = server.stream(&page, &fields).await;
    stream.event().await.unwrap();
    assert_eq!(stream.event().await.unwrap().data, "2");
}

#[tokio::test]
async fn a_namespace_lets_anonymous_clients_in_and_a_pattern_must_stay_inside() {
    let server = Harness::with(|config| {
        with_key(config, "backend", |_| {});
        let mut open = Namespace::default();
        open.anonymous.subscribe = Some(true);
        let mut closed = Namespace::default();
        closed.anonymous.subscribe = Some(false);
        config.namespaces.insert("flights".to_owned(), open);
        config.namespaces.insert("flights/crew".to_owned(), closed);
    })
    .await;
    for (path, status) in [
        ("/channels/flights", 404),
        ("/channels/flights/UA1", 404),
        ("/channels/flights/UA1/**", 200),
        ("/channels/flights/crew", 401),
        ("/channels/flights/crew/x", 401),
        ("/channels/flights/*", 401),
        ("/channels/flights/**", 401),
        ("/channels/flightsim", 401),
        ("/channels/**", 401),
        ("/channels/*/UA1", 401),
    ] {
        assert_eq!(server.get(path, &[]).await.status, status, "{path}");
    }
    server
        .post("/channels/flights/UA1", &[], b"1")
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn idempotency_keys_of_two_publishers_are_two() {
    let (mut one, mut two) = (String::new(), String::new());
    let server = Harness::with(|config| {
        one = with_key(config, "one", |_| {});
        two = with_key(config, "two", |_| {});
    })
    .await;
    let mut cursors = Vec::new();
    for (key, body) in [(&one, "1"), (&two, "2"), (&one, "1")] {
        let headers = [("Authorization", key.as_str()), ("Idempotency-Key", "same")];
        let got = server.post("/channels/a", &headers, body.as_bytes()).await;
        assert_eq!(got.status, 201);
        cursors.push(got.header("etag").to_owned());
    }
    assert_eq!(cursors[0], cursors[2]);
    assert_ne!(cursors[0], cursors[1]);
}

#[tokio::test]
async fn pages_of_other_origins_may_send_credentials_where_they_are_let_in() {
    let server = Harness::with(|config| {
        config.allow_origins = vec!["https://app.example".to_owned()];
        with_key(config, "backend", |_| {});
    })
    .await;
    let origin = ("Origin", "https://app.example");
    let preflight = [origin, ("Access-Control-Request-Method", "GET")];
    let got = server
        .request("OPTIONS", "/channels/a", &preflight, b"")
        .await;
    let allowed = got.header("access-control-allow-headers");
    assert!(allowed.contains("Authorization") && allowed.contains("X-API-Key"));
    let got = server.get("/channels/a", &[origin]).await;
    got.problem(401, "unauthorized");
    assert_eq!(
        got.header("access-control-allow-origin"),
        "https://app.example"
    );
}

#[tokio::test]
async fn a_reload_changes_who_may_come_and_cuts_nobody() {
    let mut key = String::new();
    let mut old = Config::default();
    let server = Harness::with(|config| {
        key = with_key(config, "backend", |_| {});
        old = config.clone();
    })
    .await;
    let credential = ("Authorization", key.as_str());
    let mut stream = server.stream("/channels/a", &[credential, LISTEN]).await;
    stream.event().await.unwrap();

    let mut new = old.clone();
    new.keys.clear();
    let other = with_key(&mut new, "other", |_| {});
    new.max_publication = 3;
    new.max_connections = 5;
    assert_eq!(server.reload.apply(new).unwrap(), ["limits.connections"]);
    server
        .get("/channels/a", &[credential])
        .await
        .problem(401, "unauthorized");
    let credential = ("Authorization", other.as_str());
    server
        .post("/channels/a", &[credential], b"long")
        .await
        .problem(413, "too-large");
    assert_eq!(
        server
            .post("/channels/a", &[credential], b"new")
            .await
            .status,
        201
    );
    assert_eq!(
        stream.event().await.unwrap().data.len(),
        4,
        "bnew, in base64"
    );

    let mut wrong = old;
    wrong.keys.insert("no hash".to_owned(), ApiKey::default());
    server.reload.apply(wrong).unwrap_err();
    assert_eq!(
        server
            .post("/channels/a", &[credential], b"new")
            .await
            .status,
        201
    );
}
