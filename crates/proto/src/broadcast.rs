//! A message made once for many receivers.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use crate::deflate::compress::{LEAST_BITS, compress_alone};
use crate::frame::Header;
use crate::handshake::deflate::MAX_WINDOW_BITS;
use crate::message::{Kind, Message};

/// One message for many receivers: encoded once in each form that a connection needs, and shared by all that need the same.
///
/// There is the plain frame, made at once, and a compressed one for each window that connections agreed on, made when the
/// first of them sends it. Cloning a `Broadcast` copies no payload, and sending it from a server none of 4 KiB or more; a
/// client must mask what it sends, and copies it for that. Broadcasts are equal if their messages are.
///
/// ```
/// use std::time::Instant;
/// use openline_proto::{Broadcast, Connection};
///
/// let news = Broadcast::text("the gate is C71");
/// let mut travellers = [(); 3].map(|()| Connection::server(Default::default(), Instant::now()));
/// for traveller in &mut travellers {
///     traveller.send_broadcast(&news)?;
///     assert_eq!(traveller.queued(), news.as_bytes().len());
/// }
/// # Ok::<_, openline_proto::SendError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Broadcast {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    plain: Encoded,
    compressed: OnceLock<Box<Compressed>>,
}

/// A form for each window, in bits from the least; `None` in it if the message does not shrink.
type Compressed = [OnceLock<Option<Encoded>>; (MAX_WINDOW_BITS - LEAST_BITS + 1) as usize];

/// Header and payload, as a server sends them.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) compressed: bool,
    /// The header's size.
    header: u8,
}

impl Broadcast {
    /// A text message.
    pub fn text(text: &str) -> Self {
        Self::new(Kind::Text, text.as_bytes())
    }

    /// A binary message.
    pub fn binary(payload: &[u8]) -> Self {
        Self::new(Kind::Binary, payload)
    }

    fn new(kind: Kind, payload: &[u8]) -> Self {
        Self {
            shared: Arc::new(Shared {
                kind,
                plain: Encoded::new(kind, false, payload),
                compressed: OnceLock::new(),
            }),
        }
    }

    /// Header and payload, as a server sends them uncompressed.
    pub fn as_bytes(&self) -> &Bytes {
        &self.shared.plain.bytes
    }

    /// The message's bytes.
    pub fn payload(&self) -> &[u8] {
        self.shared.plain.payload()
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.shared.kind
    }

    pub(crate) fn plain(&self) -> &Encoded {
        &self.shared.plain
    }

    /// The form for receivers with a window of so many bits, if it is shorter. `level` counts for whoever asks first.
    pub(crate) fn compressed(&self, level: u8, bits: u8) -> Option<&Encoded> {
        let make = || {
            let payload = compress_alone(level, bits, self.payload())?;
            Some(Encoded::new(self.kind(), true, &payload))
        };
        let forms = self.shared.compressed.get_or_init(Box::default);
        let form = forms.get(usize::from(bits.checked_sub(LEAST_BITS)?))?;
        form.get_or_init(make).as_ref()
    }
}

impl From<&Message> for Broadcast {
    fn from(message: &Message) -> Self {
        Self::new(message.kind(), message.as_bytes())
    }
}

impl PartialEq for Broadcast {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Broadcast {}

impl Encoded {
    fn new(kind: Kind, compressed: bool, payload: &[u8]) -> Self {
        let header = Header::whole(kind, compressed, None, payload.len());
        let mut bytes = BytesMut::with_capacity(Header::MAX_SIZE + payload.len());
        header.encode(&mut bytes);
        let size = bytes.len();
        bytes.put_slice(payload);
        Self {
            bytes: bytes.freeze(),
            compressed,
            header: size as u8,
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.header)..]
    }
}
