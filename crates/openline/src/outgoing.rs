//! What can be sent, without a copy of its own where none is needed.

use bytes::Bytes;
use openline_proto::{Broadcast, Kind, Message, Outbound, SendError, Utf8Bytes};

use crate::lent::MessageRef;

/// What [`send`](crate::WebSocket::send) and [`feed`](crate::WebSocket::feed) take: text (`&str`, `String`), bytes (`&[u8]`,
/// `Vec<u8>`, `Bytes`), a [`Message`], a [`MessageRef`] that was received, a [`Broadcast`], or [`Uncompressed`] around what
/// makes a [`Message`].
///
/// What is borrowed is copied into the queue, and costs no allocation. What is owned is not copied by a server if it has 4
/// KiB or more.
pub trait Outgoing: sealed::Sealed {
    #[doc(hidden)]
    fn queue(self, outbound: &mut Outbound) -> Result<(), SendError>;

    /// What it says, if that is copied into the queue in any case.
    #[doc(hidden)]
    fn lent(&self) -> Option<(Kind, &[u8])>;
}

/// A message that is not to be compressed, whatever was agreed on: one that holds a secret
/// ([`Deflate`](crate::Deflate) tells why), or that is compressed already.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let (mut ws, _server) = openline::WebSocket::pair();
/// ws.send(openline::Uncompressed("the password")).await?;
/// # Ok::<_, openline::Error>(()) })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Uncompressed<M>(pub M);

mod sealed {
    pub trait Sealed {}
}

/// Implements the trait for types by what queues them, and by what they say if that is copied.
macro_rules! outgoing {
    ($($type:ty: |$value:ident, $outbound:ident| $queue:expr, $lent:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Outgoing for $type {
            #[inline]
            fn queue(self, $outbound: &mut Outbound) -> Result<(), SendError> {
                let $value = self;
                $queue
            }

            #[inline]
            fn lent(&self) -> Option<(Kind, &[u8])> {
                let $value = self;
                $lent
            }
        }
    )*};
}

outgoing! {
    Message: |message, outbound| outbound.send(message), short(message.kind(), message.as_bytes());
    &Message: |message, outbound| outbound.send(message.clone()), short(message.kind(), message.as_bytes());
    &str: |text, outbound| outbound.send_text(text), Some((Kind::Text, text.as_bytes()));
    &String: |text, outbound| outbound.send_text(text), Some((Kind::Text, text.as_bytes()));
    String: |text, outbound| outbound.send(text.into()), short(Kind::Text, text.as_bytes());
    Utf8Bytes: |text, outbound| outbound.send(text.into()), short(Kind::Text, text.as_bytes());
    &[u8]: |bytes, outbound| outbound.send_binary(bytes), Some((Kind::Binary, bytes));
    Vec<u8>: |bytes, outbound| outbound.send(bytes.into()), short(Kind::Binary, bytes);
    Bytes: |bytes, outbound| outbound.send(bytes.into()), short(Kind::Binary, bytes);
    Broadcast: |broadcast, outbound| outbound.send_broadcast(&broadcast), not(broadcast);
    &Broadcast: |broadcast, outbound| outbound.send_broadcast(broadcast), not(broadcast);
    MessageRef<'_>: |message, outbound| message.queue_on(outbound), message.lent_bytes();
    &MessageRef<'_>: |message, outbound| message.queue_on(outbound), message.lent_bytes();
}

/// What is owned is copied if it is short.
#[inline]
fn short(kind: Kind, bytes: &[u8]) -> Option<(Kind, &[u8])> {
    (bytes.len() < 4096).then_some((kind, bytes))
}

/// Whoever shares what it says is not asked for it.
#[inline]
const fn not<T>(_: &T) -> Option<(Kind, &[u8])> {
    None
}

impl<const N: usize> sealed::Sealed for &[u8; N] {}

impl<const N: usize> Outgoing for &[u8; N] {
    #[inline]
    fn queue(self, outbound: &mut Outbound) -> Result<(), SendError> {
        outbound.send_binary(self)
    }

    #[inline]
    fn lent(&self) -> Option<(Kind, &[u8])> {
        Some((Kind::Binary, *self))
    }
}

impl<M: Into<Message>> sealed::Sealed for Uncompressed<M> {}

impl<M: Into<Message>> Outgoing for Uncompressed<M> {
    fn queue(self, outbound: &mut Outbound) -> Result<(), SendError> {
        outbound.send_uncompressed(self.0.into())
    }

    #[inline]
    fn lent(&self) -> Option<(Kind, &[u8])> {
        None
    }
}
