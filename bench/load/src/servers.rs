//! The servers: how each is started, and stopped.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openline_bench::kernel::pin;

use crate::sockudo;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// The echo servers of the peers that send one answer after the other, as their documentation does.
pub const PEERS: [&str; 6] = [
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "sockudo-ws",
    "yawc",
    "axum",
];
/// The same, of those that can batch if they are told to.
pub const BATCHING_PEERS: [&str; 5] = [
    "tokio-tungstenite+feed",
    "tokio-websockets+feed",
    "sockudo-ws+feed",
    "yawc+feed",
    "axum+feed",
];
pub const RAW: &str = "raw";
pub const OPENLINE: &str = "Openline";
pub const NCHAN: &str = "Nchan";
/// In C++, and no peer among the Rust libraries: the one to go after.
pub const UWEBSOCKETS: &str = "uWebSockets";
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Where the programs on Node.js are.
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../node");

/// What can be started.
#[derive(Clone, Debug)]
pub enum Program {
    /// `raw MODE PORT [SIZE]`.
    Raw(&'static str, Option<usize>),
    /// `peer NAME PORT`.
    Peer(&'static str),
    /// An example of the library: `EXAMPLE ADDRESS`.
    Example(&'static str),
    /// `own MODE PORT [WORKERS]`.
    Own(&'static str, Option<usize>),
    /// The push server, with so many workers: `openline serve`.
    Push {
        workers: usize,
        tls: bool,
        compression: bool,
    },
    /// nginx with Nchan.
    Nchan,
    /// `uws PORT`, in C++: it echoes, and fans out what is posted.
    UWebSockets,
    /// `node NAME.mjs PORT`.
    Node(&'static str),
    Sockudo,
}

/// The push server as it is mostly asked for.
pub const PUSH: Program = Program::Push {
    workers: 1,
    tls: false,
    compression: false,
};

/// What the push server allows here: as much as the bench can ask for.
const PUSH_LIMITS: [&str; 11] = [
    "--memory",
    "--limits-connections=1000000",
    "--limits-connections-per-address=1000000",
    "--limits-accept-rate=1000000",
    "--limits-handshakes=1000000",
    "--limits-request-rate=1000000000",
    "--limits-publish-rate=1000000000",
    "--limits-memory=16GiB",
    "--anonymous-publish=true",
    "--anonymous-subscribe=true",
    "--timeouts-idle=10m",
];

/// Where the programs are, and on which processor servers run.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of the bench's own programs.
    pub bench: PathBuf,
    /// Of the product: its command, and its examples in a folder of their own.
    pub product: PathBuf,
    /// Of peers that are built from their packages: `bin/NAME`.
    pub tools: PathBuf,
    pub server_cpu: usize,
    pub load_cpu: usize,
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pub port: u16,
    /// What it says, and the files that it needs: configuration, certificates and such.
    folder: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It holds nothing that would be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Program {
    /// Why it can't be started, if a part of it is not installed.
    pub fn missing(&self, place: &Place) -> Option<String> {
        let needed = match self {
            Self::Raw(..)
            | Self::Own(..)
            | Self::Peer(_)
            | Self::Example(_)
            | Self::Push { .. } => {
                return None;
            }
            Self::Nchan => vec![PathBuf::from(NCHAN_MODULE)],
            Self::Node(_) => vec![
                on_path("node"),
                Path::new(NODE).join("node_modules/ws"),
                Path::new(NODE).join("node_modules/socket.io"),
            ],
            Self::Sockudo => vec![place.tools.join("bin/sockudo")],
            Self::UWebSockets => {
                let built = place.tools.join("bin/uws").exists();
                return (!built).then(|| "it needs g++ and its sources to be built".to_owned());
            }
        };
        let missing = needed.into_iter().find(|path| !path.exists())?;
        let name = missing.file_name().unwrap_or_default().to_string_lossy();
        Some(format!(
            "{name} is not installed (`ci/bench.sh install-peers`)"
        ))
    }

    /// Of which version it is, if no lock file tells.
    pub fn version(&self, place: &Place) -> Option<String> {
        let ask = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(said)
        };
        let (name, version) = match self {
            Self::Nchan => (
                NCHAN,
                ask("dpkg-query", &["-W", "-f=${Version}", "libnginx-mod-nchan"])?,
            ),
            Self::Node(_) => ("Node.js", ask("node", &["--version"])?),
            Self::Sockudo => {
                let installed = fs::read_to_string(place.tools.join(".crates.toml")).ok()?;
                let (_, rest) = installed.split_once("\"sockudo ")?;
                ("Sockudo", rest.split_once(' ')?.0.to_owned())
            }
            _ => return None,
        };
        Some(format!("{name} {version}"))
    }

    /// Starts it on a free port, and on its processor; returns when it listens.
    pub fn start(&self, place: &Place) -> io::Result<Running> {
        self.start_under(place, &[])
    }

    /// The same under another program, which is given here with its arguments, and takes its place.
    pub fn start_under(&self, place: &Place, under: &[String]) -> io::Result<Running> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("openline-bench-{port}"));
        fs::create_dir_all(&folder)?;
        let said = folder.join("stderr");
        let mut command = self.command(place, port, &folder)?;
        if let [program, arguments @ ..] = under {
            let mut other = Command::new(program);
            other
                .args(arguments)
                .arg(command.get_program())
                .args(command.get_args());
            for (name, value) in command.get_envs() {
                if let Some(value) = value {
                    other.env(name, value);
                }
            }
            command = other;
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said)?);
        // A child has its parent's processor.
        pin(place.server_cpu)?;
        let child = command.spawn();
        pin(place.load_cpu)?;
        let program = Path::new(command.get_program()).display();
        let child = child.map_err(|error| {
            let _ = fs::remove_dir_all(&folder);
            io::Error::other(format!("can't start {program}: {error}"))
        })?;
        let mut running = Running {
            child,
            port,
            folder,
        };
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let said = fs::read_to_string(said).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{program} ended: {status}\n{said}"
                )));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{program} does not listen")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    /// The file that runs, of the programs that are built here.
    pub fn file(&self, place: &Place) -> Option<PathBuf> {
        match self {
            Self::Example(name) => Some(place.product.join("examples").join(name)),
            Self::Push { .. } => Some(place.product.join("openline")),
            _ => None,
        }
    }

    fn command(&self, place: &Place, port: u16, folder: &Path) -> io::Result<Command> {
        let port_text = port.to_string();
        let mut command;
        match self {
            Self::Raw(mode, number) | Self::Own(mode, number) => {
                let name = if matches!(self, Self::Raw(..)) {
                    "raw"
                } else {
                    "own"
                };
                command = Command::new(place.bench.join(name));
                command.args([mode, port_text.as_str()]);
                command.args(number.map(|number| number.to_string()));
            }
            Self::Peer(name) => {
                command = Command::new(place.bench.join("peer"));
                command.args([name, port_text.as_str()]);
            }
            Self::Example(name) => {
                command = Command::new(place.product.join("examples").join(name));
                command.arg(format!("127.0.0.1:{port}"));
            }
            Self::Push {
                workers,
                tls,
                compression,
            } => {
                command = Command::new(place.product.join("openline"));
                command.env("TOKIO_WORKER_THREADS", workers.to_string());
                command
                    .arg("serve")
                    .arg(format!("--listen=127.0.0.1:{port}"))
                    .args(PUSH_LIMITS)
                    .arg(format!("--compression={compression}"));
                if *tls {
                    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
                    let made = made.map_err(io::Error::other)?;
                    for (option, file, pem) in [
                        ("--tls-cert", "cert.pem", made.cert.pem()),
                        ("--tls-key", "key.pem", made.signing_key.serialize_pem()),
                    ] {
                        let path = folder.join(file);
                        fs::write(&path, pem)?;
                        command.arg(option).arg(path);
                    }
                }
            }
            Self::Nchan => {
                fs::write(folder.join("nginx.conf"), nchan_configuration(port))?;
                command = Command::new("nginx");
                command
                    .arg("-p")
                    .arg(folder)
                    .args(["-c", "nginx.conf", "-e", "error.log"]);
            }
            Self::Node(name) => {
                command = Command::new("node");
                command
                    .arg(Path::new(NODE).join(format!("{name}.mjs")))
                    .arg(port_text);
            }
            Self::UWebSockets => {
                command = Command::new(place.tools.join("bin/uws"));
                command.arg(port_text);
            }
            Self::Sockudo => {
                command = Command::new(place.tools.join("bin/sockudo"));
                command
                    .current_dir(folder)
                    .env("TOKIO_WORKER_THREADS", "1")
                    .env("PORT", port_text)
                    .envs(sockudo::SETTINGS);
            }
        }
        Ok(command)
    }
}

/// One process, no logs, room for all; one channel, which `/publish` takes and the other paths give.
fn nchan_configuration(port: u16) -> String {
    let listen = |path: &str, way: &str| {
        format!(
            "location /{path} {{ nchan_subscriber {way}; nchan_channel_id bench; nchan_subscribe_existing_channels_only off; }}\n"
        )
    };
    let ways = [
        listen("websocket", "websocket"),
        listen("sse", "eventsource"),
        listen("poll", "longpoll"),
    ]
    .concat();
    format!(
        "load_module {NCHAN_MODULE};\n\
         daemon off;\nmaster_process off;\npid nginx.pid;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 19900; }}\n\
         http {{\n\
         access_log off;\nkeepalive_requests 100000000;\nnchan_shared_memory_size 512M;\n\
         nchan_message_buffer_length 20;\nnchan_message_timeout 1m;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
         fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096;\n\
         location /publish {{ nchan_publisher; nchan_channel_id bench; }}\n\
         {ways} }} }}\n"
    )
}

/// Where `name` would be found: as it is, if nowhere.
pub fn on_path(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&folders).map(|folder| folder.join(name));
    all.find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(name))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
