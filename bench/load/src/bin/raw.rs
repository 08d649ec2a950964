//! Servers that do the least a server can: they bound from below what any library costs on this kernel.
//!
//!   raw echo PORT SIZE    one receive, one send of as many bytes as the unmasked frames have; payloads are not looked at
//!   raw tls PORT SIZE     the same over a bare rustls
//!   raw fan PORT          what one receive gives of one connection goes to every other by one send each
//!   raw hyper PORT        HTTP: a bare hyper that answers with the request's body

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use openline_bench::kernel::{Poll, raise_open_files};
use openline_bench::wire::{Frames, SWITCHING, TEXT, frame, payload};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

/// As much as a receive may give.
const BUFFER: usize = 512 * 1024;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let mode = arguments.first().map(String::as_str);
    let (Some(mode), Some(port)) = (mode, number(1)) else {
        return Err(io::Error::other("usage: raw MODE PORT [SIZE]"));
    };
    raise_open_files()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16))?;
    match (mode, number(2)) {
        ("echo", Some(size)) => serve(&listener, &mut Echo::new(size)),
        ("tls", Some(size)) => serve(&listener, &mut Tls::new(size)?),
        ("fan", None) => serve(&listener, &mut Fan::default()),
        ("hyper", None) => hyper_echo(listener),
        _ => Err(io::Error::other(
            "usage: raw echo|tls|fan|hyper PORT [SIZE]",
        )),
    }
}

/// What to do with one connection's bytes.
trait Protocol {
    /// What is kept for a connection.
    type State;

    fn open(&mut self) -> io::Result<Self::State>;

    /// The connection `key` is readable.
    fn read(
        &mut self,
        connections: &mut HashMap<usize, (TcpStream, Self::State)>,
        key: usize,
    ) -> io::Result<()>;
}

/// The sockets block, and are read only when there is something: so nothing but receives and sends is called for.
fn serve<P: Protocol>(listener: &TcpListener, protocol: &mut P) -> io::Result<()> {
    const LISTENER: usize = usize::MAX;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(listener, LISTENER)?;
    let mut connections = HashMap::new();
    loop {
        for ready in poll.wait(None)? {
            if ready.number != LISTENER {
                if protocol.read(&mut connections, ready.number).is_err() {
                    connections.remove(&ready.number);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                let key = stream.as_raw_fd() as usize;
                poll.add(&stream, key)?;
                connections.insert(key, (stream, protocol.open()?));
            }
        }
    }
}

fn receive(mut from: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    match from.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// How many whole messages of one size a stream of masked frames has brought.
#[derive(Clone, Copy, Default)]
struct Owed {
    opened: bool,
    bytes: usize,
}

impl Owed {
    /// The answer to `count` bytes more: as much of it as `answers` are whole messages, or the opening handshake's.
    fn answer<'a>(&mut self, count: usize, size: usize, answers: &'a [u8]) -> &'a [u8] {
        if !self.opened {
            self.opened = true;
            return SWITCHING;
        }
        self.bytes += count;
        let whole = self.bytes / (size + 4);
        self.bytes %= size + 4;
        &answers[..whole * size]
    }
}

struct Echo {
    /// The size of a frame to send; one received has a key besides.
    size: usize,
    answers: Vec<u8>,
    buffer: Vec<u8>,
}

impl Echo {
    fn new(size: usize) -> Self {
        let frame = frame(TEXT, &payload(size), None);
        Self {
            size: frame.len(),
            answers: frame.repeat(BUFFER / frame.len() + 2),
            buffer: vec![0; BUFFER],
        }
    }
}

impl Protocol for Echo {
    type State = Owed;

    fn open(&mut self) -> io::Result<Owed> {
        Ok(Owed::default())
    }

    fn read(
        &mut self,
        connections: &mut HashMap<usize, (TcpStream, Owed)>,
        key: usize,
    ) -> io::Result<()> {
        let Some((stream, owed)) = connections.get_mut(&key) else {
            return Ok(());
        };
        let count = receive(&*stream, &mut self.buffer)?;
        match owed.answer(count, self.size, &self.answers) {
            [] => Ok(()),
            answer => stream.write_all(answer),
        }
    }
}

struct Tls {
    echo: Echo,
    config: Arc<ServerConfig>,
}

impl Tls {
    fn new(size: usize) -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Self {
            echo: Echo::new(size),
            config: Arc::new(config),
        })
    }
}

impl Protocol for Tls {
    type State = (Owed, ServerConnection);

    fn open(&mut self) -> io::Result<Self::State> {
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok((Owed::default(), tls))
    }

    fn read(
        &mut self,
        connections: &mut HashMap<usize, (TcpStream, Self::State)>,
        key: usize,
    ) -> io::Result<()> {
        let Some((stream, (owed, tls))) = connections.get_mut(&key) else {
            return Ok(());
        };
        if tls.read_tls(stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        while let Ok(count) = receive(tls.reader(), &mut self.echo.buffer) {
            let answer = owed.answer(count, self.echo.size, &self.echo.answers);
            tls.writer().write_all(answer)?;
        }
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Fan {
    buffer: Vec<u8>,
    /// The messages last sent, as frames: how many, how long, and their bytes.
    frames: (u64, usize, Vec<u8>),
}

impl Protocol for Fan {
    /// Once the handshake is done: the frames that come, and the bytes since the last of them ended.
    type State = Option<(Frames, usize)>;

    fn open(&mut self) -> io::Result<Self::State> {
        Ok(None)
    }

    fn read(
        &mut self,
        connections: &mut HashMap<usize, (TcpStream, Self::State)>,
        key: usize,
    ) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        let Some((stream, frames)) = connections.get_mut(&key) else {
            return Ok(());
        };
        let count = receive(&*stream, &mut self.buffer)?;
        let Some((frames, bytes)) = frames else {
            *frames = Some((Frames::default(), 0));
            return stream.write_all(SWITCHING);
        };
        let whole = frames.count(&self.buffer[..count]);
        *bytes += count;
        if whole == 0 {
            return Ok(());
        }
        // All are as long as this one, without its key.
        let size = std::mem::take(bytes) / whole as usize - 4;
        if (self.frames.0, self.frames.1) != (whole, size) {
            let head = match size {
                0..128 => 2,
                128..65_540 => 4,
                _ => 10,
            };
            let one = frame(TEXT, &payload(size - head), None);
            self.frames = (whole, size, one.repeat(whole as usize));
        }
        for (&other, (stream, _)) in connections {
            if other != key {
                stream.write_all(&self.frames.2)?;
            }
        }
        Ok(())
    }
}

fn hyper_echo(listener: TcpListener) -> io::Result<()> {
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        Ok(Response::new(Full::new(body)))
    }
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let service = hyper::service::service_fn(answer);
                let served =
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                Ok::<_, Infallible>(served.await.is_ok())
            });
        }
    })
}
