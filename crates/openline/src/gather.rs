//! Streams of HTTP/2, which make one frame of each piece that they are given, however small it is: what is written at one time
//! goes to them in one piece of memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What goes to such a transport at one time: a DATA frame of HTTP/2 holds so much, until the peer allows more. It also
/// bounds what waits there beyond the peer's window.
const MAX_PIECE: usize = 16 * 1024;

/// A transport that takes one piece after the other.
pub(crate) trait TakesPieces: AsyncRead + Unpin {
    /// Ready when there is room for a piece, of any size. It is asked first, so that no piece is made in vain.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes a piece for which there is room, or a part of it.
    fn poll_take(&mut self, cx: &mut Context<'_>, piece: Vec<u8>) -> Poll<io::Result<usize>>;

    /// Sends all that was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the sending side.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Makes one piece of what is written at one time.
#[derive(Debug)]
pub(crate) struct Gathered<T>(pub(crate) T);

impl<T: TakesPieces> AsyncRead for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: TakesPieces> AsyncWrite for Gathered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_room(cx))?;
        self.0.poll_take(cx, gather(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_end(cx)
    }
}

/// The first [`MAX_PIECE`] bytes of the slices.
fn gather(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let all: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut piece = Vec::with_capacity(all.min(MAX_PIECE));
    for slice in slices {
        let count = slice.len().min(MAX_PIECE - piece.len());
        piece.extend_from_slice(&slice[..count]);
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_gathered_up_to_the_limit() {
        let long = vec![b'x'; MAX_PIECE];
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
        assert_eq!(gather(&slices), b"abc");
        let slices = [IoSlice::new(b"ab"), IoSlice::new(&long), IoSlice::new(b"c")];
        let piece = gather(&slices);
        assert_eq!(piece.len(), MAX_PIECE);
        assert!(piece.starts_with(b"abx") && piece.ends_with(b"x"));
    }
}
