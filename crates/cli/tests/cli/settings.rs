//! Settings: the file, the environment and the command line; their check and their reference.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;

use openline_server::NewKey;

use crate::support::{Running, Server, command, json, run, text};

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_reference_page_is_the_declaration() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let output = run(&["check-config", "--reference"]);
    assert!(
        std::fs::read_to_string(page).unwrap() == text(&output.stdout),
        "write it anew: openline check-config --reference >docs/configuration.md"
    );
}

#[test]
fn a_check_tells_everything_that_is_wrong_with_its_line_and_the_near_key() {
    let path = file(
        "wrong.toml",
        "[limits]\nconections = 5\nqueue = \"much\"\n\n[history]\ncount = 10\n",
    );
    let output = run(&["check-config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr);
    let lines: Vec<_> = stderr.lines().collect();
    assert!(
        lines[0].ends_with(
            "wrong.toml:2: there is no key `limits.conections`; did you mean `limits.connections`?"
        ),
        "{stderr}"
    );
    assert!(
        lines[1].contains("wrong.toml:3: `limits.queue`: \"much\" is not understood; write bytes"),
        "{stderr}"
    );
    // A server does not start with it either.
    let output = run(&["serve", "--memory", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("wrong.toml:2"));
}

#[test]
fn a_check_looks_at_what_the_values_mean_too() {
    for (name, content, told) in [
        ("key.toml", "[key.a]\npublish = []\n", "key.a has no hash"),
        (
            "origin.toml",
            "allow_origins = [\"x\"]",
            "\"x\" is not an origin",
        ),
        (
            "namespace.toml",
            "[namespace.\"a//b\".anonymous]\npublish = true",
            "not a channel's name",
        ),
        (
            "jwks.toml",
            "token.jwks = \"http://far.example/\"",
            "neither an https URL",
        ),
        (
            "traces.toml",
            "traces.endpoint = \"collector\"\ntraces.ratio = 0.5",
            "neither an http nor an https URL",
        ),
        (
            "collector.toml",
            "traces.endpoint = \"http://me:secret@far.example\"",
            "traces.endpoint has a user name, a query or a fragment",
        ),
        (
            "ports.toml",
            "listen = \"127.0.0.1:9000\"\nmetrics.listen = \"127.0.0.1:9000\"",
            "listen and metrics.listen are both 127.0.0.1:9000",
        ),
        (
            "proxies.toml",
            "proxies.header = \"forwarded\"",
            "proxies.header says what proxies do, and proxies.trusted names none",
        ),
        (
            "log.toml",
            "log = \"inof\"",
            "log.toml:1: `log`: \"inof\" is not understood",
        ),
        (
            "limit.toml",
            "limits.connections = \"18446744073709551615\"",
            "limits.connections is out of bounds",
        ),
    ] {
        let path = file(name, content);
        let output = run(&["check-config", path.to_str().unwrap()]);
        assert_eq!(
            output.status.code(),
            Some(if name == "origin.toml" { 2 } else { 1 }),
            "{name}"
        );
        let stderr = text(&output.stderr);
        assert!(stderr.contains(told), "{stderr}");
    }
    let path = file("good.toml", "log = \"info\"\n");
    let output = run(&["check-config", path.to_str().unwrap()]);
    assert!(text(&output.stdout).ends_with("good.toml: all is well\n"));
    assert!(output.status.success());
}

#[test]
fn the_configuration_that_is_shipped_is_sound() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/openline.toml");
    let output = run(&["check-config", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = run(&["serve", "--memory", "--config", "there/is/none.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there/is/none.toml"));
}

#[test]
fn the_command_line_counts_more_than_the_environment_and_that_more_than_the_file() {
    let path = file(
        "layers.toml",
        "listen = \"127.0.0.1:0\"\n[limits]\npublication = 3\nidempotency_keys = 7\n",
    );
    let args = ["serve", "--memory", "--config", path.to_str().unwrap()];
    for (environment, flag, taken) in [
        (None, None, 3),
        (Some("4"), None, 4),
        (Some("4"), Some("5"), 5),
    ] {
        let mut command = command(&args);
        command.envs(environment.map(|value| ("OPENLINE_LIMITS_PUBLICATION", value)));
        command.args(flag.map(|value| format!("--limits-publication={value}")));
        let server = Server::started(Running::run(&mut command));
        let refused = run(&["publish", "a", "123456", "--server", &server.url]);
        let stderr = text(&refused.stderr);
        assert!(
            stderr.contains(&format!("larger than {taken} bytes")),
            "{stderr}"
        );
    }
}

#[test]
fn where_no_collector_is_named_the_environments_is_taken() {
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let environments = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = format!("http://{}", address(&environments));
    for (endpoint, collector) in [
        (None, &environments),
        (Some(format!("http://{}", address(&own))), &own),
    ] {
        let mut command = command(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &shared);
        command.env("OPENLINE_TRACES_RATIO", "1");
        command.envs(endpoint.map(|endpoint| ("OPENLINE_TRACES_ENDPOINT", endpoint)));
        let server = Server::started(Running::run(&mut command));
        server.publish("a", "1");
        let (stream, _) = collector.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    }
}

#[test]
fn what_is_wrong_is_told_with_where_it_stands() {
    let output = command(&["serve", "--memory"])
        .env("OPENLINE_LIMITS_QUEUE", "0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: OPENLINE_LIMITS_QUEUE: "),
        "{stderr}"
    );
    let output = run(&["serve", "--memory", "--drain", "10"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: --drain: \"10\" is not understood; write a time"),
        "{stderr}"
    );

    let mut command = command(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
    let running = Running::run(command.env("OPENLINE_LIMITS_QUEU", "1"));
    running.says("OPENLINE_LIMITS_QUEU is not a setting; did you mean OPENLINE_LIMITS_QUEUE?");
}

#[test]
fn a_new_key_lets_its_bearer_in() {
    let output = run(&["new-key"]);
    let key = text(&output.stdout).trim();
    let lines = text(&output.stderr);
    let config = &lines[lines.find("[key.backend]").unwrap()..];
    let path = file("new-key.toml", config);
    let server = Server::start_with(&[
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--config",
        path.to_str().unwrap(),
    ]);
    let refused = run(&["publish", "a", "1", "--server", &server.url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("401"),
        "{}",
        text(&refused.stderr)
    );

    let publish = command(&["publish", "a", "1", "--server", &server.url])
        .env("OPENLINE_TOKEN", key)
        .output()
        .unwrap();
    assert!(publish.status.success(), "{}", text(&publish.stderr));
    for way in crate::support::WAYS {
        let args = [
            "listen",
            "a",
            "--count",
            "1",
            "--since",
            "",
            "--via",
            way,
            "--server",
            &server.url,
        ];
        let output = command(&args).env("OPENLINE_TOKEN", key).output().unwrap();
        assert!(output.status.success(), "{way}: {}", text(&output.stderr));
        assert_eq!(json(text(&output.stdout))["data"], "1", "{way}");
    }
}

#[test]
fn a_token_in_a_query_stands_in_no_log() {
    let secret = "olk_this_must_never_be_seen";
    let mut command = command(&[
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "trace",
    ]);
    let server = Server::started(Running::run(&mut command));
    let address = server.address();
    for request in [
        format!(
            "GET /channels/a?token={secret} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "GET /channels/a HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "GET /channels/a?token={secret} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: openline.v1, openline.token.{secret}\r\n\r\n"
        ),
        format!("GET /channels/a?token={secret} HTTP/1.1\r\nHost: {address}\r\nbroken\r\n\r\n"),
    ] {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(!text(&answer).contains(secret), "{}", text(&answer));
    }
    server.running.signal("TERM");
    let (status, log) = server.running.end_with_log();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.iter().any(|line| line.contains("stopped")),
        "it is the log"
    );
    for line in log {
        assert!(!line.contains(secret), "{line}");
    }
}

#[test]
fn a_hangup_reloads_the_configuration_and_an_error_changes_nothing() {
    let (one, two) = (NewKey::random(), NewKey::random());
    let config = |key: &NewKey| format!("[key.backend]\nhash = \"{}\"\n", key.hash);
    let path = file("reload.toml", &config(&one));
    let server = Server::start_with(&[
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--config",
        path.to_str().unwrap(),
    ]);
    let url = server.url.clone();
    let may_publish = |key: &NewKey| {
        let output = command(&["publish", "a", "1", "--server", &url])
            .env("OPENLINE_TOKEN", &key.key)
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(may_publish(&one) && !may_publish(&two));
    std::fs::write(&path, config(&two)).unwrap();
    server.running.signal("HUP");
    server.running.says("reloaded the configuration");
    assert!(!may_publish(&one) && may_publish(&two));

    std::fs::write(&path, "[key.backend]\nhsh = 1\n").unwrap();
    server.running.signal("HUP");
    server.running.says("the configuration was not reloaded");
    server.running.says("did you mean `key.backend.hash`?");
    assert!(may_publish(&two));
}

#[test]
fn a_log_may_be_json() {
    let mut command = command(&[
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "info",
        "--log-format",
        "json",
    ]);
    let running = Running::run(&mut command);
    let line = json(&running.says("\"listening\""));
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"INFO".into(), &"listening".into())
    );
}
