//! Who may do what: keys, tokens, and those who bring nothing.

use std::path::PathBuf;
use std::time::Duration;

use openline::{Client, CloseCode, WebSocket};
use openline_server::{ApiKey, Config, Namespace, NewKey};
use serde_json::{Value, json};

use crate::common::{Harness, Issuer, Response, encode, seconds_from_now, soon};

const LISTEN: (&str, &str) = ("Accept", "text/event-stream");

fn filters(texts: &[&str]) -> Vec<openline_server::Filter> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Adds a key of that name; the field that bears it.
fn with_key(config: &mut Config, name: &str, change: impl FnOnce(&mut ApiKey)) -> String {
    let new = NewKey::random();
    let mut key = ApiKey {
        hash: Some(new.hash),
        ..ApiKey::default()
    };
    change(&mut key);
    config.keys.insert(name.to_owned(), key);
    format!("Bearer {}", new.key)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A server that knows this issuer.
async fn trusting(issuer: &Issuer) -> Harness {
    Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.token.leeway = Duration::from_millis(1);
    })
    .await
}

/// What a client with that token gets of a channel.
async fn get(server: &Harness, path: &str, token: &str) -> Response {
    server.get(path, &[("Authorization", &bearer(token))]).await
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/data")
        .join(name)
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

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

fn status(refused: Result<(WebSocket, http::Response<()>), openline::Error>) -> u16 {
    match refused {
        Err(openline::Error::Handshake { response, .. }) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
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
async fn a_token_says_what_its_bearer_may_do() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    server.publish("flights/UA1", "late").await;
    let token = issuer.token(json!({"openline": {
        "subscribe": ["flights/*"], "publish": ["gates/C"], "presence": ["flights/*"]
    }}));
    assert_eq!(
        get(&server, "/channels/flights/UA1", &token).await.text(),
        "late"
    );
    assert_eq!(
        get(&server, "/channels/flights/*", &token).await.status,
        200
    );
    get(&server, "/channels/flights/**", &token)
        .await
        .problem(403, "forbidden");
    let credential = [("Authorization", &*bearer(&token))];
    assert_eq!(
        server
            .post("/channels/gates/C", &credential, b"1")
            .await
            .status,
        201
    );
    server
        .post("/channels/flights/UA1", &credential, b"1")
        .await
        .problem(403, "forbidden");
    // A token without rights is a credential that may do nothing.
    let empty = issuer.token(json!({}));
    get(&server, "/channels/flights/UA1", &empty)
        .await
        .problem(403, "forbidden");
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
async fn a_token_may_name_presence_and_then_names_it_well() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    server.publish("a", "1").await;
    let with = |rights: Value| issuer.token(json!({"openline": rights}));
    let good = with(json!({"subscribe": ["a"], "presence": ["a", "b/**"]}));
    assert_eq!(get(&server, "/channels/a", &good).await.status, 200);
    let only = with(json!({"presence": ["a"]}));
    get(&server, "/channels/a", &only)
        .await
        .problem(403, "forbidden");
    for wrong in [json!(["a//b"]), json!("a"), json!([7]), json!(true)] {
        let token = with(json!({"subscribe": ["a"], "presence": wrong}));
        get(&server, "/channels/a", &token)
            .await
            .problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn tokens_are_refused_that_are_old_early_foreign_or_malformed() {
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.token.audience = vec!["push".to_owned()];
        config.token.issuer = vec!["https://id.example".to_owned()];
        config.token.leeway = Duration::from_millis(1);
    })
    .await;
    let rights = json!({"subscribe": ["**"]});
    let claims = |change: Value| {
        let mut all = json!({"openline": rights, "aud": "push", "iss": "https://id.example"});
        for (name, value) in change.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let good = issuer.token(claims(json!({"aud": ["other", "push"]})));
    assert_eq!(get(&server, "/channels/a", &good).await.status, 404);

    let none = {
        let header = encode(br#"{"alg":"none"}"#);
        let body = claims(json!({"exp": seconds_from_now(60)})).to_string();
        format!("{header}.{}.", encode(body.as_bytes()))
    };
    let mut unsigned = good.clone();
    unsigned.truncate(good.rfind('.').unwrap() + 1);
    for (token, told) in [
        (
            issuer.token(claims(json!({"exp": seconds_from_now(-10)}))),
            "expired",
        ),
        (
            issuer.token(claims(json!({"nbf": seconds_from_now(60)}))),
            "not valid yet",
        ),
        (issuer.token(claims(json!({"aud": "other"}))), "audience"),
        (
            issuer.token(claims(json!({"iss": "https://evil.example"}))),
            "issuer",
        ),
        (issuer.token(json!({"iss": "https://id.example"})), "no aud"),
        (issuer.sign(&claims(json!({}))), "exp"),
        (
            issuer.token(claims(json!({"openline": {"subscribe": ["a//b"]}}))),
            "segment 2",
        ),
        (issuer.token(claims(json!({"openline": ["a"]}))), "claims"),
        (
            Issuer::hmac("HS256", "another secret of enough characters").token(claims(json!({}))),
            "signature",
        ),
        (
            Issuer::ec("x").token(claims(json!({}))),
            "key or an algorithm",
        ),
        (none, "malformed"),
        (unsigned, "signature"),
        ("..".to_owned(), "malformed"),
    ] {
        let got = get(&server, "/channels/a", &token).await;
        let detail = got.problem(401, "unauthorized");
        assert!(detail.contains(told), "{detail}, not {told}");
    }
}

#[tokio::test]
async fn every_kind_of_signature_is_understood() {
    let rights = json!({"openline": {"subscribe": ["flights/**"]}});
    for algorithm in ["HS256", "HS384", "HS512"] {
        let issuer = Issuer::hmac(algorithm, "a secret of more than 32 characters");
        let server = trusting(&issuer).await;
        let token = issuer.token(rights.clone());
        let got = get(&server, "/channels/flights/x", &token).await;
        assert_eq!(got.status, 404, "{algorithm}");
    }
    for (name, issuer) in [("ec", Issuer::ec("x")), ("ed", Issuer::ed("x"))] {
        let path = scratch(&format!("{name}.pem"));
        std::fs::write(&path, issuer.pem()).unwrap();
        let server = Harness::with(|config| config.token.public_key = Some(path)).await;
        let token = issuer.token(rights.clone());
        let got = get(&server, "/channels/flights/x", &token).await;
        assert_eq!(got.status, 404, "{name}");
        // A public key is no secret to sign with.
        let forged = Issuer::hmac("HS256", &issuer.pem()).token(rights.clone());
        get(&server, "/channels/flights/x", &forged)
            .await
            .problem(401, "unauthorized");
    }
    let server = Harness::with(|config| config.token.public_key = Some(file("rsa.pem"))).await;
    for name in ["rs256.jwt", "ps256.jwt"] {
        let token = std::fs::read_to_string(file(name)).unwrap();
        let token = token.trim();
        assert_eq!(get(&server, "/channels/flights/x", token).await.status, 404);
        get(&server, "/channels/gates", token)
            .await
            .problem(403, "forbidden");
        let other = token.replacen("eyJ", "eyK", 1);
        get(&server, "/channels/flights/x", &other)
            .await
            .problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn an_issuer_may_change_its_keys() {
    // The issuer's set is served by another server, on a channel.
    let host = Harness::start().await;
    let set = async |issuers: &[&Issuer]| {
        let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
        // What is not understood is left out, and a secret that everybody can read is none.
        let shared = Issuer::secret().jwk();
        let keys = [keys, vec![json!({"kty": "new", "kid": "z"}), shared]].concat();
        host.publish("jwks", &json!({ "keys": keys }).to_string())
            .await;
    };
    let (first, second) = (Issuer::ec("one"), Issuer::ed("two"));
    set(&[&first]).await;
    let url = format!("http://{}/channels/jwks", host.address);
    let server = Harness::with(|config| {
        config.token.jwks = Some(url);
        config.token.jwks_age = Duration::from_millis(1);
    })
    .await;
    let rights = json!({"openline": {"subscribe": ["**"]}});
    let status = async |issuer: &Issuer| {
        let token = issuer.token(rights.clone());
        get(&server, "/channels/a", &token).await.status
    };
    assert_eq!(status(&first).await, 404);
    assert_eq!(status(&second).await, 401);
    set(&[&first, &second]).await;
    while status(&second).await != 404 {}
    assert_eq!(status(&first).await, 404);
    set(&[&second]).await;
    while status(&first).await != 401 {}
    assert_eq!(status(&Issuer::secret()).await, 401);

    // What was read stays good while the set cannot be.
    drop(host);
    assert_eq!(status(&second).await, 404);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_no_fault_of_the_token() {
    let server = Harness::with(|config| {
        config.token.jwks = Some(scratch("there-is-none.json").display().to_string());
    })
    .await;
    let token = Issuer::ec("x").token(json!({}));
    let got = get(&server, "/channels/a", &token).await;
    got.problem(503, "busy");
    assert!(!got.header("retry-after").is_empty());
}

#[tokio::test]
async fn browsers_bring_a_token_in_the_query_or_as_a_subprotocol() {
    let issuer = Issuer::secret();
    let server = trusting(&issuer).await;
    server.publish("a", "1").await;
    let token = issuer.token(json!({"openline": {"subscribe": ["a"]}}));
    let mut stream = server
        .stream(&format!("/channels/a?token={token}"), &[LISTEN])
        .await;
    assert_eq!(stream.event().await.unwrap().name, "ready");

    let url = format!("ws://{}/channels/a", server.address);
    let client = Client::new(&url)
        .unwrap()
        .subprotocol("openline.v1")
        .subprotocol(format!("openline.token.{token}"));
    let (socket, _) = soon(client.connect()).await.unwrap();
    assert_eq!(socket.subprotocol(), Some("openline.v1"));

    let client = Client::new(&format!("{url}?token={token}")).unwrap();
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    let said = soon(socket.next()).await.unwrap().unwrap();
    assert_eq!(said.as_text(), Some("1"));
}

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
