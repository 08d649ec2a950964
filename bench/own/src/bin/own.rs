//! Programs on Openline that its examples and its command are not, so that they can be measured.
//!
//!   own echo PORT WORKERS    an echo server with so many threads, each with a runtime and a listener of its own
//!   own fan PORT             what any connection says goes to every other
//!   own fan-deflate PORT     the same, compressed for those that can read it

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use openline::{Acceptor, Broadcast, Config, Deflate, Error, Takeover, WebSocket};
use openline_bench::kernel::raise_open_files;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

/// More than a process may have open here.
const CONNECTIONS: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let usage = || io::Error::other("usage: own echo PORT WORKERS, own fan|fan-deflate PORT");
    let (Some(mode), Some(port)) = (arguments.first(), number(1)) else {
        return Err(usage());
    };
    raise_open_files()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
    match (mode.as_str(), number(2)) {
        ("echo", Some(workers)) => {
            let threads: Vec<_> = (0..workers)
                .map(|_| std::thread::spawn(move || echo(address)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
            })
        }
        ("fan", None) => fan(address, None),
        ("fan-deflate", None) => fan(address, Some(Deflate::default().takeover(Takeover::Never))),
        _ => Err(usage()),
    }
}

fn echo(address: SocketAddr) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        openline::Server::default()
            .max_connections(CONNECTIONS)
            .run(
                shared_listener(address)?,
                std::future::pending(),
                async |mut ws: WebSocket, _| {
                    let (sender, receiver) = ws.halves();
                    while let Some(message) = receiver.next_lent().await {
                        sender.send(message?).await?;
                    }
                    Ok::<_, Error>(())
                },
            )
            .await;
        Ok(())
    })
}

/// Several listeners may have this address; the kernel gives each its share of the connections.
fn shared_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Who listens; each by the queue of what it is to be sent.
type Audience = Rc<RefCell<Vec<mpsc::UnboundedSender<Broadcast>>>>;

fn fan(address: SocketAddr, deflate: Option<Deflate>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let acceptor = Acceptor::default().config(Config::default().deflate(deflate));
    tasks.block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        let audience = Audience::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, audience) = (acceptor.clone(), Rc::clone(&audience));
            tokio::task::spawn_local(async move {
                if let Ok(ws) = acceptor.accept(stream).await {
                    let _ = attend(ws, &audience).await;
                }
            });
        }
    })
}

async fn attend(mut ws: WebSocket, audience: &Audience) -> Result<(), Error> {
    let (say, mut hear) = mpsc::unbounded_channel();
    audience.borrow_mut().push(say.clone());
    loop {
        tokio::select! {
            said = ws.next() => match said {
                Some(message) => {
                    let message = message?;
                    let broadcast = Broadcast::text(message.as_text().unwrap_or_default());
                    audience.borrow_mut().retain(|other| other.same_channel(&say) || other.send(broadcast.clone()).is_ok());
                }
                None => return Ok(()),
            },
            Some(broadcast) = hear.recv() => {
                ws.feed(&broadcast)?;
                while let Ok(broadcast) = hear.try_recv() {
                    ws.feed(&broadcast)?;
                }
                ws.flush().await?;
            }
        }
    }
}
