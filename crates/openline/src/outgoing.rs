//! What can be sent, without a copy of its own where none is needed.

use bytes::Bytes;
use openline_proto::{Broadcast, Message, Outbound, SendError, Utf8Bytes};

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

/// Implements the trait for types by what queues them.
macro_rules! outgoing {
    ($($type:ty: |$value:ident, $outbound:ident| $queue:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Outgoing for $type {
            #[inline]
            fn queue(self, $outbound: &mut Outbound) -> Result<(), SendError> {
                let $value = self;
                $queue
            }
        }
    )*};
}

outgoing! {
    Message: |message, outbound| outbound.send(message);
    &Message: |message, outbound| outbound.send(message.clone());
    &str: |text, outbound| outbound.send_text(text);
    &String: |text, outbound| outbound.send_text(text);
    String: |text, outbound| outbound.send(text.into());
    Utf8Bytes: |text, outbound| outbound.send(text.into());
    &[u8]: |bytes, outbound| outbound.send_binary(bytes);
    Vec<u8>: |bytes, outbound| outbound.send(bytes.into());
    Bytes: |bytes, outbound| outbound.send(bytes.into());
    Broadcast: |broadcast, outbound| outbound.send_broadcast(&broadcast);
    &Broadcast: |broadcast, outbound| outbound.send_broadcast(broadcast);
    MessageRef<'_>: |message, outbound| message.queue_on(outbound);
    &MessageRef<'_>: |message, outbound| message.queue_on(outbound);
}

impl<const N: usize> sealed::Sealed for &[u8; N] {}

impl<const N: usize> Outgoing for &[u8; N] {
    fn queue(self, outbound: &mut Outbound) -> Result<(), SendError> {
        outbound.send_binary(self)
    }
}

impl<M: Into<Message>> sealed::Sealed for Uncompressed<M> {}

impl<M: Into<Message>> Outgoing for Uncompressed<M> {
    fn queue(self, outbound: &mut Outbound) -> Result<(), SendError> {
        outbound.send_uncompressed(self.0.into())
    }
}
