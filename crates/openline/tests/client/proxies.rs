//! Through proxies.

use openline::{ConnectError, Error, Proxy, ProxyError};
use tokio::net::TcpListener;

use crate::servers::{Asked, echo_server, http_proxy, redirecting, relay_http, serve, socks_proxy};
use crate::{client, echoes};

#[tokio::test]
async fn through_an_http_proxy_with_credentials() {
    let (server, asked) = echo_server().await;
    let (proxy, tunnels) = http_proxy(server, Some("YWxpY2U6b3BlbiBzZXNhbWU=")).await;
    let through = Proxy::new(&format!("http://alice:open%20sesame@{proxy}")).unwrap();
    let client = client("ws://nowhere.invalid:8080/chat")
        .bearer("t0ken")
        .unwrap();
    let (ws, _) = client.clone().proxy(through).connect().await.unwrap();
    echoes(ws).await;
    assert_eq!(
        tunnels.one(),
        "connect nowhere.invalid:8080 http/1.1\r\nhost: nowhere.invalid:8080\r\n\
         proxy-authorization: basic ywxpy2u6b3blbibzzxnhbwu=\r\n\r\n"
    );
    let asked = asked.one();
    assert!(asked.contains("host: nowhere.invalid:8080\n"), "{asked}");
    assert!(!asked.contains("proxy-"), "{asked}");

    let wrong = Proxy::new(&format!("http://{proxy}"))
        .unwrap()
        .credentials("eve", "s3cret")
        .unwrap();
    let error = client.proxy(wrong).connect().await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("s3cret"),
        "{error:?}"
    );
    let Error::Proxy {
        proxy: named,
        error: ProxyError::Refused(response),
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(named, format!("http://{proxy}"));
    assert_eq!(response.status(), 407);
    assert_eq!(
        response.headers()["proxy-authenticate"],
        "Basic realm=\"it\""
    );
    assert_eq!(&response.body()[..], b"who are you?");
}

#[tokio::test]
async fn through_a_socks_proxy_by_name() {
    let (server, _) = echo_server().await;
    let (proxy, asked) = socks_proxy(server).await;
    for through in [
        format!("socks5://alice:pw@{proxy}"),
        format!("socks5h://{proxy}"),
    ] {
        let proxy = Proxy::new(&through).unwrap();
        let client = client("ws://nowhere.invalid/").proxy(proxy);
        echoes(client.connect().await.unwrap().0).await;
    }
    assert_eq!(
        asked.all(),
        ["alice:pw@nowhere.invalid:80", "nowhere.invalid:80"]
    );
}

#[tokio::test]
async fn a_redirect_takes_the_proxy_too() {
    let (elsewhere, _) = redirecting(302, "ws://second.invalid/").await;
    let (server, _) = echo_server().await;
    let asked = Asked::default();
    let heard = asked.clone();
    let proxy = serve(move |stream| {
        let heard = heard.clone();
        let route = move |head: &str| match head.contains("first") {
            true => elsewhere,
            false => server,
        };
        async move {
            let _ = relay_http(stream, route, None, heard).await;
        }
    })
    .await;
    let through = Proxy::new(&proxy.to_string()).unwrap();
    let client = client("ws://first.invalid/").proxy(through).redirects(1);
    echoes(client.connect().await.unwrap().0).await;
    let asked: Vec<_> = asked
        .all()
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        asked,
        [
            "connect first.invalid:80 http/1.1",
            "connect second.invalid:80 http/1.1"
        ]
    );
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::new(&address.to_string()).unwrap();
    let result = client("ws://h/").proxy(proxy).connect().await;
    assert!(
        matches!(
            result,
            Err(Error::Proxy {
                error: ProxyError::Connect(_),
                ..
            })
        ),
        "{result:?}"
    );
}

/// What the environment says can't be changed inside of a process without `unsafe`: the test runs itself in another.
#[test]
fn the_proxy_of_the_environment_is_taken_unless_told_otherwise() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, proxy, asked) = runtime.block_on(async {
        let (server, _) = echo_server().await;
        let (proxy, asked) = http_proxy(server, None).await;
        (server, proxy, asked)
    });
    let run = |url: &str, no_proxy: &str| {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "proxies::connects_by_the_environment",
            ])
            .env("URL", url)
            .env("http_proxy", proxy.to_string())
            .env("NO_PROXY", no_proxy)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{url}");
    };
    run("ws://nowhere.invalid/", "");
    assert!(asked.one().starts_with("connect nowhere.invalid:80 "));
    run(&format!("ws://{server}/"), "");
    run(&format!("ws://{server}/"), "127.0.0.0/8");
    assert_eq!(asked.all().len(), 1, "this machine needs no proxy");
}

#[tokio::test]
#[ignore = "run by the test of the environment"]
async fn connects_by_the_environment() {
    let url = std::env::var("URL").unwrap();
    echoes(client(&url).connect().await.unwrap().0).await;
    if url.contains("invalid") {
        let direct = client(&url).no_proxy().connect().await;
        assert!(matches!(
            direct,
            Err(Error::Connect {
                source: ConnectError::Resolve(_),
                ..
            })
        ));
    }
}
