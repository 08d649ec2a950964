//! Clients and servers of HTTP/2 by the crate `h2`, which do what ours do not.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, Version};
use tokio::net::{TcpListener, TcpStream};

/// A client's connection, driven by a task of its own.
pub(crate) async fn connect(address: &str) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    // It has no objection to messages of two bytes.
    builder.data_frame_budget(usize::MAX);
    let (requests, mut connection) = builder.handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // The server's settings are here then.
    pings.ping(h2::Ping::opaque()).await.unwrap();
    requests
}

/// An extended CONNECT that is good but for what the caller changes.
pub(crate) fn request(address: &str, path: &str, protocol: Option<&str>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    let uri = match protocol {
        Some(_) => format!("http://{address}{path}"),
        None => address.to_owned(),
    };
    *request.uri_mut() = uri.parse().unwrap();
    let version = http::HeaderValue::from_static("13");
    request
        .headers_mut()
        .insert("sec-websocket-version", version);
    if let Some(protocol) = protocol {
        let protocol = h2::ext::Protocol::from(protocol);
        request.extensions_mut().insert(protocol);
    }
    request
}

/// Sends a request, and gives the whole answer, with the stream to go on with.
pub(crate) async fn ask(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut requests = requests.clone().ready().await.unwrap();
    let (response, send) = requests.send_request(request, false).unwrap();
    (response.await.unwrap(), send)
}

/// A server whose connections are handled by `serve`; `ws://…/` of it.
pub(crate) async fn serve<F>(
    builder: h2::server::Builder,
    serve: impl Fn(Connection<TcpStream, Bytes>) -> F + Send + 'static,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = builder.handshake(stream).await.unwrap();
            tokio::spawn(serve(connection));
        }
    });
    url
}

/// A server that knows extended CONNECT and answers each request by `answer`.
pub(crate) async fn answering<F>(
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    serve(builder, move |mut connection| {
        let answer = answer.clone();
        async move {
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond));
            }
        }
    })
    .await
}
