//! The attacks of `docs/attacks.md` that the server has to survive as a whole, each by its number.

use std::time::Duration;

use openline::{Client, CloseCode};
use openline_server::{Config, HistoryLimits, Raw, Server, Settings as _};

use crate::common::{Connection, Harness, request, soon};

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// The opening handshake, but for these fields.
fn opening(method: &str, path: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = UPGRADE.to_vec();
    headers.retain(|(name, _)| !changes.iter().any(|(other, _)| other == name));
    headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    request(method, path, &headers, b"")
}

/// A raw WebSocket.
async fn raw(server: &Harness) -> Connection {
    let mut connection = server.connect().await;
    connection.send(&opening("GET", "/channels/a", &[])).await;
    assert_eq!(connection.head().await.0, 101);
    connection
}

/// Runs a server and its clients on one thread; the most that both have allocated at one time, in bytes.
fn memory(test: impl Future<Output = ()>) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    allocation_counter::measure(|| runtime.block_on(test)).bytes_max
}

/// 20 MB to a hundred who read nothing.
#[test]
fn attack_03_stalled_subscribers_keep_no_more_alive_than_their_queues_server() {
    let used = memory(async {
        let server = Harness::with(|config| {
            config.max_queue = 1 << 20;
            config.history.bytes = 1 << 20;
        })
        .await;
        let mut stalled = Vec::new();
        for _ in 0..25 {
            stalled.push(raw(&server).await);
            for accept in ["text/event-stream", "application/x-ndjson"] {
                stalled.push(server.stream("/channels/a", &[("Accept", accept)]).await);
            }
        }
        let filler = "x".repeat(200_000);
        for _ in 0..100 {
            server.publish("a", &filler).await;
            tokio::task::yield_now().await;
        }
    });
    // The history and the queues share the publications, of which each form is made once; what each connection is about to
    // write is shared as well. A copy for each would be 75 MiB.
    assert!(used < 24 << 20, "{used} bytes");
}

#[test]
fn attack_05_a_flood_of_pings_from_a_client_that_never_reads_stays_bounded_server() {
    let used = memory(async {
        let server = Harness::start().await;
        let mut connection = raw(&server).await;
        let ping = [&b"\x89\xfd\0\0\0\0"[..], &[b'p'; 125]].concat();
        let flood = ping.repeat(1000);
        for _ in 0..400 {
            connection.send(&flood).await;
        }
        // It lives, and serves others.
        assert_eq!(server.get("/channels/a", &[]).await.status, 404);
        assert_eq!(connection.bytes(2).await, b"\x8a\x7d");
    });
    // 400,000 pongs would be 51 MB. The test's own flood is 131 KB of this.
    assert!(used < 1 << 20, "{used} bytes");
}

/// Sets one of them to zero.
type Zero = fn(&mut Config);

/// Each number of the configuration, of which a new one is not to be forgotten here.
#[tokio::test]
async fn attack_14_no_limit_of_zero_is_taken_server() {
    let Config {
        listen: _,
        pages: _,
        allow_origins: _,
        allow_hosts: _,
        data_dir: _,
        data_dir_wait: _,
        memory: _,
        compression: _,
        history:
            HistoryLimits {
                count: _,
                bytes: _,
                age: _,
                total_bytes: _,
                channels: _,
            },
        max_publication: _,
        max_connections: _,
        max_connections_per_address: _,
        accept_rate: _,
        max_handshakes: _,
        request_rate: _,
        publish_rate: _,
        max_bodies: _,
        max_memory: _,
        max_message: _,
        message_rate: _,
        max_queue: _,
        max_idempotency_keys: _,
        header_timeout: _,
        body_timeout: _,
        idle_timeout: _,
        write_timeout: _,
        heartbeat: _,
        drain_timeout: _,
        log: _,
        log_format: _,
        anonymous: _,
        slow: _,
        token: _,
        webhook: _,
        tls: _,
        metrics: _,
        proxies: _,
        keys: _,
        namespaces: _,
        traces: _,
    } = Config::default();
    let zeros: [(&str, Zero); 26] = [
        ("namespace.NAME.history.bytes", |config| {
            let namespace = config.namespaces.entry("a".to_owned()).or_default();
            namespace.history.bytes = Some(0);
        }),
        ("namespace.NAME.history.age", |config| {
            let namespace = config.namespaces.entry("a".to_owned()).or_default();
            namespace.history.age = Some(Duration::ZERO);
        }),
        ("history.count", |config| config.history.count = 0),
        ("history.bytes", |config| config.history.bytes = 0),
        ("history.age", |config| config.history.age = Duration::ZERO),
        ("history.total_bytes", |config| {
            config.history.total_bytes = Some(0);
        }),
        ("history.channels", |config| config.history.channels = 0),
        ("limits.publication", |config| config.max_publication = 0),
        ("limits.connections", |config| config.max_connections = 0),
        ("limits.connections_per_address", |config| {
            config.max_connections_per_address = 0;
        }),
        ("limits.accept_rate", |config| config.accept_rate = 0),
        ("limits.handshakes", |config| config.max_handshakes = 0),
        ("limits.request_rate", |config| config.request_rate = 0),
        ("limits.publish_rate", |config| config.publish_rate = 0),
        ("limits.bodies", |config| config.max_bodies = 0),
        ("limits.memory", |config| config.max_memory = 0),
        ("limits.message", |config| config.max_message = 0),
        ("limits.message_rate", |config| config.message_rate = 0),
        ("limits.queue", |config| config.max_queue = 0),
        ("limits.idempotency_keys", |config| {
            config.max_idempotency_keys = 0;
        }),
        ("timeouts.header", |config| {
            config.header_timeout = Duration::ZERO;
        }),
        ("timeouts.body", |config| {
            config.body_timeout = Duration::ZERO;
        }),
        ("timeouts.idle", |config| {
            config.idle_timeout = Duration::ZERO;
        }),
        ("timeouts.write", |config| {
            config.write_timeout = Duration::ZERO;
        }),
        ("timeouts.heartbeat", |config| {
            config.heartbeat = Duration::ZERO;
        }),
        ("drain", |config| {
            config.drain_timeout = Duration::ZERO;
        }),
    ];
    for (name, zero) in zeros {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        };
        zero(&mut config);
        let error = Server::bind(config).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{name} is out of bounds")),
            "{error}"
        );
    }
}

/// And whatever a file, the environment or a flag can set to a number or a time.
#[test]
fn attack_14_no_setting_takes_zero_server() {
    let mut settings = Vec::new();
    Config::describe(&[], &mut settings);
    let mut numbers = 0;
    for setting in settings {
        // A name of one's own is one of those that there may be.
        let path: Vec<&str> = setting
            .path
            .iter()
            .map(|part| if *part == "*" { "some" } else { part })
            .collect();
        let one = ["1", "1s"].map(|one| Raw::Text(one.to_owned()));
        let takes_numbers = one
            .iter()
            .any(|one| Config::default().set(&path, one).is_ok());
        if !takes_numbers
            || !setting.form.contains("whole number") && !setting.form.contains("a time")
        {
            continue;
        }
        numbers += 1;
        if setting.key() == "namespace.*.history.count" {
            // The one place where none may be kept, and 0 says so.
            continue;
        }
        for zero in ["0", "0s", "0ms", "0B"] {
            let mut config = Config::default();
            let set = config.set(&path, &Raw::Text(zero.to_owned()));
            assert!(set.is_err(), "{} takes {zero}", setting.key());
        }
    }
    assert!(numbers > 20, "{numbers}");
}

/// Subscribers that come and go while each publication is handed out: those who stay miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attack_18_subscribers_that_come_and_go_during_a_publication_harm_nobody_server() {
    const COUNT: usize = 300;
    let server = Harness::start().await;
    let address = server.address;
    let connect = |path: &str| {
        let client = Client::new(&format!("ws://{address}{path}")).unwrap();
        async move {
            soon(client.subprotocol("openline.v1").connect())
                .await
                .unwrap()
                .0
        }
    };
    let mut staying = Vec::new();
    for path in ["/channels/a/b", "/channels/a/*", "/channels/**"] {
        let mut socket = connect(path).await;
        soon(socket.next()).await.unwrap().unwrap();
        staying.push(socket);
    }
    let restless: Vec<_> = [
        "/channels/a/b",
        "/channels/a/*",
        "/channels/**",
        "/channels/*/b",
    ]
    .into_iter()
    .map(|path| {
        let client = Client::new(&format!("ws://{address}{path}")).unwrap();
        tokio::spawn(async move {
            for turn in 0.. {
                let Ok((mut socket, _)) = client.clone().connect().await else {
                    return turn;
                };
                // What comes makes it go: in the middle of the publication, for all it knows.
                socket.next().await;
                if turn % 2 == 0 && socket.close(CloseCode::NORMAL, "").await.is_err() {
                    return turn;
                }
            }
            0
        })
    })
    .collect();
    for number in 0..COUNT {
        server.publish("a/b", &number.to_string()).await;
    }
    for socket in &mut staying {
        for number in 0..COUNT {
            let message = soon(socket.next()).await.unwrap().unwrap();
            let envelope: serde_json::Value =
                serde_json::from_str(message.as_text().unwrap()).unwrap();
            assert_eq!(envelope["data"], number.to_string());
        }
    }
    for task in restless {
        task.abort();
        assert!(task.await.is_err(), "it was still coming and going");
    }
}

/// The way of an upgrade is the way of every request: whatever refuses one refuses the other.
#[tokio::test]
async fn attack_22_an_upgrade_goes_the_same_way_as_every_request_server() {
    let server = Harness::with(|config| config.pages = true).await;
    for (method, path, headers, status) in [
        ("GET", "/channels/a", &[("Host", "evil.example")][..], 403),
        (
            "GET",
            "/channels/a",
            &[("Origin", "https://evil.example")],
            403,
        ),
        (
            "GET",
            "/channels/a",
            &[("Sec-Fetch-Site", "cross-site")],
            403,
        ),
        ("GET", "http://evil.example/channels/a", &[], 403),
        ("GET", "/channels/a//b", &[], 400),
        ("GET", "/channels/a?since=nonsense", &[], 400),
        ("GET", "/channels/a?limit=nonsense", &[], 400),
        ("GET", "/nothing", &[], 404),
        ("GET", "/channels", &[], 404),
        ("GET", "/channels/../meters", &[], 400),
        ("PUT", "/channels/a", &[], 405),
        ("GET", "/", &[], 200),
        ("GET", "/meters", &[], 200),
        ("HEAD", "/channels/a", &[], 404),
        ("DELETE", "/channels/a", &[], 204),
    ] {
        for upgrade in [true, false] {
            let bytes = match upgrade {
                true => opening(method, path, headers),
                false => request(method, path, headers, b""),
            };
            let mut connection = server.connect().await;
            connection.send(&bytes).await;
            let got = connection.response(method).await.status;
            assert_eq!(
                got, status,
                "{method} {path} {headers:?}, upgrade: {upgrade}"
            );
        }
    }
}

/// A proxy that does not look at the answer takes the connection for a tunnel from here on, and lets everything through:
/// what follows must be nobody's request.
#[tokio::test]
async fn attack_24_what_follows_a_refused_upgrade_is_no_request_server() {
    let server = Harness::start().await;
    for (method, path, changes) in [
        (
            "GET",
            "/channels/a",
            &[("Sec-WebSocket-Version", "1337")][..],
        ),
        ("GET", "/channels/a", &[("Sec-WebSocket-Key", "short")]),
        ("GET", "/channels/a", &[("Sec-WebSocket-Key", "")]),
        ("GET", "/channels/a", &[("Connection", "keep-alive")]),
        (
            "GET",
            "/channels/a",
            &[("Content-Length", "0"), ("Transfer-Encoding", "chunked")],
        ),
        ("GET", "/channels/a", &[("Origin", "https://evil.example")]),
        // A neighbour in the list that is no token is nothing to overlook the WebSocket for.
        (
            "GET",
            "/channels/a",
            &[
                ("Upgrade", "\u{e9}, websocket"),
                ("Origin", "https://evil.example"),
            ],
        ),
        ("GET", "/channels/a//b", &[]),
        ("GET", "/nothing", &[]),
        ("POST", "/channels/b", &[]),
        ("HEAD", "/channels/b", &[]),
    ] {
        let mut bytes = opening(method, path, changes);
        if changes.iter().any(|(_, value)| *value == "chunked") {
            bytes.extend(b"0\r\n\r\n");
        }
        bytes.extend(request("POST", "/channels/smuggled", &[], b"x"));
        let mut connection = server.connect().await;
        connection.send(&bytes).await;
        let got = connection.response(method).await;
        assert_ne!(got.status, 101);
        assert!(connection.is_at_end().await, "{method} {path} {changes:?}");
        assert!(got.header("connection").contains("close"), "{got:?}");
    }
    let smuggled = server.get("/channels/smuggled", &[]).await;
    smuggled.problem(404, "no-publication");
}

/// A request with two lengths is two requests for those who disagree.
#[tokio::test]
async fn attack_24_a_request_of_two_lengths_is_refused_server() {
    let server = Harness::start().await;
    for lengths in [
        &[("Content-Length", "1"), ("Content-Length", "2")][..],
        &[("Content-Length", "1, 2")],
        &[("Content-Length", "+1")],
        &[
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Transfer-Encoding", "x"),
        ],
    ] {
        let mut connection = server.connect().await;
        connection
            .send(&request(
                "POST",
                "/channels/a",
                lengths,
                b"1\r\nx\r\n0\r\n\r\n",
            ))
            .await;
        assert_eq!(connection.head().await.0, 400, "{lengths:?}");
    }
    server
        .get("/channels/a", &[])
        .await
        .problem(404, "no-publication");
}

/// A WebSocket is one task, whatever its client sends.
#[tokio::test]
async fn attack_27_a_connection_is_one_task_whatever_comes_server() {
    let server = Harness::start().await;
    let mut connection = raw(&server).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    connection.send(b"\x89\x80\0\0\0\0").await;
    assert_eq!(connection.bytes(2).await, b"\x8a\0");
    let tasks = metrics.num_alive_tasks();
    for _ in 0..100 {
        connection.send(&b"\x89\x80\0\0\0\0".repeat(20)).await;
        assert_eq!(connection.bytes(2).await, b"\x8a\0");
        assert_eq!(metrics.num_alive_tasks(), tasks);
    }
}

/// Bodies of one channel hold what others publish, beside what may be secret.
#[tokio::test]
async fn attack_28_compression_is_not_granted_server() {
    let server = Harness::start().await;
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let mut connection = server.connect().await;
    connection
        .send(&opening("GET", "/channels/a", &offer))
        .await;
    let (status, headers) = connection.head().await;
    assert_eq!(
        (status, headers.get("sec-websocket-extensions")),
        (101, None)
    );
}
