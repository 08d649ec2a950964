//! Tokens: what they say, who signs them, and how they come.

use super::*;

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
