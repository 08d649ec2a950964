//! TCP sockets as tokio has them.

use tokio::net::TcpStream;
pub(crate) use tokio::net::tcp::{OwnedReadHalf as ReadHalf, OwnedWriteHalf as WriteHalf};

use crate::stream::Duplex;

/// Parts a socket for who reads it and who writes it.
pub(crate) fn split(stream: TcpStream) -> Result<(ReadHalf, WriteHalf), Box<dyn Duplex>> {
    Ok(stream.into_split())
}
