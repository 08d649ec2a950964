//! The push servers: how one listens and publishes there.

use openline_bench::link::{Greeting, Target};
use openline_bench::load::Publisher;
use openline_bench::wire::{TEXT, client_frame};

use crate::servers::{NCHAN, OPENLINE, PUSH, Program, RAW, UWEBSOCKETS};
use crate::sockudo;

/// Who fans out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Raw,
    Openline,
    UWebSockets,
    Nchan,
    Sockudo,
    SocketIo,
    Ws,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Raw,
        Self::Openline,
        Self::UWebSockets,
        Self::Nchan,
        Self::Sockudo,
        Self::SocketIo,
        Self::Ws,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => RAW,
            Self::Openline => OPENLINE,
            Self::UWebSockets => UWEBSOCKETS,
            Self::Nchan => NCHAN,
            Self::Sockudo => "Sockudo",
            Self::SocketIo => "Socket.IO",
            Self::Ws => "ws (Node.js)",
        }
    }

    pub(super) const fn program(self) -> Program {
        match self {
            Self::Raw => Program::Raw("fan", None),
            Self::Openline => PUSH,
            Self::UWebSockets => Program::UWebSockets,
            Self::Nchan => Program::Nchan,
            Self::Sockudo => Program::Sockudo,
            Self::SocketIo => Program::Node("socket-io"),
            Self::Ws => Program::Node("ws"),
        }
    }

    /// How one listens. Whatever the server says besides is shorter than what is published in any workload.
    pub(super) fn target(self, port: u16) -> Target {
        let target = match self {
            Self::Raw | Self::Ws => Target::websocket(port, "/"),
            Self::Openline => Target::websocket(port, "/channels/bench"),
            Self::Nchan | Self::UWebSockets => Target::websocket(port, "/websocket"),
            Self::Sockudo => sockudo::target(port),
            Self::SocketIo => Target {
                greeting: vec![
                    Greeting {
                        say: Vec::new(),
                        hear: b"0{",
                    },
                    Greeting {
                        say: client_frame(TEXT, b"40"),
                        hear: b"40{",
                    },
                ],
                ..Target::websocket(port, "/socket.io/?EIO=4&transport=websocket")
            },
        };
        Target {
            least: 125,
            ..target
        }
    }

    pub(super) fn publisher(self, port: u16, body: &[u8]) -> Publisher {
        let request = match self {
            Self::Raw => return Publisher::Frame(self.target(port), client_frame(TEXT, body)),
            Self::Openline => post(port, "/channels/bench", body),
            Self::UWebSockets | Self::Nchan | Self::SocketIo | Self::Ws => {
                post(port, "/publish", body)
            }
            Self::Sockudo => {
                let request = sockudo::publication(port, &String::from_utf8_lossy(body));
                return Publisher::Requests(port, request);
            }
        };
        Publisher::Request(port, request)
    }
}

pub(super) fn post(port: u16, path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
