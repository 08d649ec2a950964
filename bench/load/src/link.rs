//! A client's connection: TCP or TLS, blocking while it opens, then not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use socket2::{Domain, Socket, Type};

use crate::wire::{first_frame, head_end};

/// How long a server may take to answer while connections open.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections to open before the first one's answer is awaited: few enough for any server's backlog.
const AT_ONCE: usize = 64;

/// Where a server is, and what to say first.
#[derive(Clone, Debug)]
pub struct Target {
    pub port: u16,
    /// The request: an opening handshake, or whatever opens a stream.
    pub request: Vec<u8>,
    /// How an answer must begin; without it, none is awaited.
    pub expect: Option<&'static str>,
    pub tls: Option<Arc<ClientConfig>>,
    /// Bytes that the kernel may hold for the client, if fewer than usual.
    pub receive_buffer: Option<usize>,
    /// What is said by WebSocket before anything is delivered.
    pub greeting: Vec<Greeting>,
    /// Frames with less payload than this are none of the deliveries.
    pub least: u64,
}

/// A frame to send, if any, and what the frame that answers it has in it.
#[derive(Clone, Debug)]
pub struct Greeting {
    pub say: Vec<u8>,
    pub hear: &'static [u8],
}

impl Target {
    pub fn websocket(port: u16, path: &str) -> Self {
        Self {
            port,
            request: crate::wire::upgrade_request(port, path, ""),
            expect: Some("HTTP/1.1 101"),
            tls: None,
            receive_buffer: None,
            greeting: Vec::new(),
            least: 0,
        }
    }

    pub fn over_tls(mut self) -> Self {
        self.tls = Some(any_certificate());
        self
    }

    /// Opens `count` connections, some at once.
    pub fn open(&self, count: usize) -> io::Result<Vec<Link>> {
        let mut links = Vec::with_capacity(count);
        while links.len() < count {
            let opened = links.len();
            for number in opened..count.min(opened + AT_ONCE) {
                let begun = self.begin(number);
                links.push(begun.map_err(|error| told(number, &error))?);
            }
            for (number, link) in links.iter_mut().enumerate().skip(opened) {
                let done = link.finish(self);
                done.map_err(|error| told(number, &error))?;
            }
        }
        Ok(links)
    }

    /// Connects and says the request. `number` picks the source address, so that no range of ports runs out.
    pub fn begin(&self, number: usize) -> io::Result<Link> {
        let source = Ipv4Addr::new(127, 0, (number / 20_000) as u8, 2);
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port).into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let tls = self.tls.as_ref().map(|config| {
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            ClientConnection::new(Arc::clone(config), name).map(Box::new)
        });
        let mut link = Link {
            socket: socket.into(),
            tls: tls.transpose().map_err(io::Error::other)?,
            written: 0,
            early: Vec::new(),
        };
        if !link.send(&self.request)? {
            return Err(io::Error::other("the request did not go out at once"));
        }
        Ok(link)
    }
}

fn told(number: usize, error: &io::Error) -> io::Error {
    io::Error::other(format!("connection {number}: {error}"))
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes of what is being sent that have left already.
    written: usize,
    /// What came right behind the answer to the request.
    early: Vec<u8>,
}

impl Link {
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Awaits the answer to the request; from then on, nothing blocks.
    pub fn finish(&mut self, target: &Target) -> io::Result<()> {
        if let Some(expect) = target.expect {
            let mut answer = Vec::new();
            let mut piece = [0; 4096];
            let end = loop {
                if let Some(end) = head_end(&answer) {
                    break end;
                }
                let count = self.read_some(&mut piece)?;
                answer.extend_from_slice(&piece[..count]);
            };
            if !answer.starts_with(expect.as_bytes()) {
                let said = String::from_utf8_lossy(&answer[..end]);
                return Err(io::Error::other(format!("the server answered:\n{said}")));
            }
            self.early = answer.split_off(end);
        }
        for greeting in &target.greeting {
            self.greet(greeting)?;
        }
        self.socket.set_nonblocking(true)
    }

    fn greet(&mut self, greeting: &Greeting) -> io::Result<()> {
        if !self.send(&greeting.say)? {
            return Err(io::Error::other("the greeting did not go out at once"));
        }
        let mut piece = [0; 4096];
        loop {
            while let Some(end) = first_frame(&self.early) {
                let rest = self.early.split_off(end);
                let frame = std::mem::replace(&mut self.early, rest);
                let hear = greeting.hear;
                if frame.windows(hear.len()).any(|bytes| bytes == hear) {
                    return Ok(());
                }
            }
            let count = self.read_some(&mut piece)?;
            self.early.extend_from_slice(&piece[..count]);
        }
    }

    /// Blocks until there are bytes.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.tls {
            None => self.socket.read(buffer)?,
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).read(buffer)?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }

    /// Sends these bytes, or goes on with them after a call that returned `false`: then the socket was full.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.tls {
            None => {
                while self.written < bytes.len() {
                    match self.socket.write(&bytes[self.written..]) {
                        Ok(count) => self.written += count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
            }
            Some(tls) => {
                if self.written == 0 {
                    tls.set_buffer_limit(None);
                    tls.writer().write_all(bytes)?;
                    self.written = bytes.len();
                }
                while tls.is_handshaking() {
                    tls.complete_io(&mut self.socket)?;
                }
                while tls.wants_write() {
                    match tls.write_tls(&mut self.socket) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.written = 0;
        Ok(true)
    }

    /// Shows `see` what has come, and returns how many bytes that were; none is no error.
    pub fn receive(&mut self, buffer: &mut [u8], mut see: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut seen = self.early.len();
        if seen > 0 {
            see(&std::mem::take(&mut self.early));
        }
        loop {
            let count = match &mut self.tls {
                None => self.socket.read(buffer),
                Some(tls) => tls.read_tls(&mut self.socket),
            };
            let count = match count {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(seen),
                Err(error) => return Err(error),
            };
            let Some(tls) = &mut self.tls else {
                see(&buffer[..count]);
                seen += count;
                if count < buffer.len() {
                    return Ok(seen);
                }
                continue;
            };
            tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                match tls.reader().read(buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        see(&buffer[..count]);
                        seen += count;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// TLS 1.3 with whoever answers: the servers here have certificates of their own making.
fn any_certificate() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has the suites of TLS 1.3");
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Each connection pays for a whole handshake.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
