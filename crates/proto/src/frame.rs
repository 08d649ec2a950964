//! Frames (RFC 6455 §5.2): opcodes and headers.

use bytes::BufMut;

use crate::error::ProtocolError;
use crate::message::Kind;

/// Which end of the connection this is. Exhaustive: a connection has two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Accepts the opening handshake, never masks.
    Server,
    /// Begins the opening handshake, masks every frame.
    Client,
}

/// What a frame is (§11.8). Exhaustive: a reserved opcode needs an extension that defines it, and fails without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The last frame of a side.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or comes unasked.
    Pong = 0xA,
}

impl Opcode {
    const fn parse(nibble: u8) -> Result<Self, ProtocolError> {
        Ok(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            other => return Err(ProtocolError::ReservedOpcode(other)),
        })
    }

    /// Close, Ping and Pong (§5.5).
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The longest payload of a control frame (§5.5).
pub(crate) const MAX_CONTROL: usize = 125;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's last frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The message is compressed: RSV1 on its first frame (RFC 7692 §6).
    pub compressed: bool,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// The payload's length in bytes.
    pub length: u64,
}

impl Header {
    /// The longest header: two bytes, a 64-bit length, a masking key.
    pub const MAX_SIZE: usize = 14;

    /// Of a message in one frame.
    pub(crate) const fn whole(
        kind: Kind,
        compressed: bool,
        mask: Option<[u8; 4]>,
        length: usize,
    ) -> Self {
        Self {
            fin: true,
            opcode: kind.opcode(),
            compressed,
            mask,
            length: length as u64,
        }
    }

    /// Reads a header that `receiver` was sent: the header and its size, or `None` if more bytes are needed. RSV1 is
    /// valid only where `deflate` was negotiated.
    ///
    /// What can be judged by the bytes at hand is judged, even if the rest has not come.
    ///
    /// # Errors
    /// Whatever §5.1, §5.2 and §5.5 forbid.
    #[inline]
    pub fn parse(
        bytes: &[u8],
        receiver: Role,
        deflate: bool,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let opcode = Opcode::parse(first & 0x0f);
        // §5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values". RFC 7692 §6.1
        // gives RSV1 a meaning on the first frame of a message, and on no other.
        let compressed = first & 0x40 != 0;
        let may_be_compressed = deflate && matches!(opcode, Ok(Opcode::Text | Opcode::Binary));
        if first & 0x30 != 0 || (compressed && !may_be_compressed) {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = opcode?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        match (receiver, masked) {
            (Role::Server, false) => return Err(ProtocolError::UnmaskedFrame),
            (Role::Client, true) => return Err(ProtocolError::MaskedFrame),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(ProtocolError::ControlTooLong);
        }
        let rest = &bytes[2..];
        let (length, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u16::from_be_bytes(*length);
                if length < 126 {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (u64::from(length), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if length >> 63 != 0 {
                    return Err(ProtocolError::LengthTooLarge);
                }
                if length <= 0xffff {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        Ok(Some((
            Self {
                fin,
                opcode,
                compressed,
                mask,
                length,
            },
            bytes.len() - rest.len(),
        )))
    }

    /// FIN, RSV1 and the opcode.
    #[inline(always)]
    pub(crate) const fn first_byte(fin: bool, compressed: bool, opcode: Opcode) -> u8 {
        let fin = if fin { 0x80 } else { 0 };
        let rsv1 = if compressed { 0x40 } else { 0 };
        fin | rsv1 | opcode as u8
    }

    /// Appends the header's bytes to `out`, with the shortest form of the length.
    #[inline(always)]
    pub fn encode(&self, out: &mut impl BufMut) {
        let first = Self::first_byte(self.fin, self.compressed, self.opcode);
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        // In parts of constant size: a copy of any other is a call, which costs more than the header.
        match self.length {
            short @ 0..=125 => out.put_slice(&[first, mask_bit | short as u8]),
            medium @ 126..=0xffff => {
                let [high, low] = (medium as u16).to_be_bytes();
                out.put_slice(&[first, mask_bit | 126, high, low]);
            }
            long => {
                out.put_slice(&[first, mask_bit | 127]);
                out.put_slice(&long.to_be_bytes());
            }
        }
        if let Some(key) = &self.mask {
            out.put_slice(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server_reads(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProtocolError> {
        Header::parse(bytes, Role::Server, false)
    }
    fn client_reads(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProtocolError> {
        Header::parse(bytes, Role::Client, false)
    }

    #[test]
    fn server_reads_masked_text() {
        let (header, size) = server_reads(b"\x81\x85\x37\xfa\x21\x3d").unwrap().unwrap();
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            (header, size),
            (
                Header {
                    fin: true,
                    opcode: Opcode::Text,
                    compressed: false,
                    mask,
                    length: 5
                },
                6
            )
        );
    }

    #[test]
    fn client_reads_lengths_of_all_three_forms() {
        let length = |bytes: &[u8]| client_reads(bytes).unwrap().unwrap().0.length;
        assert_eq!(length(b"\x82\x7d"), 125);
        assert_eq!(length(b"\x82\x7e\x00\x7e"), 126);
        assert_eq!(length(b"\x82\x7e\xff\xff"), 65_535);
        assert_eq!(length(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), 65_536);
        assert_eq!(
            length(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (1 << 63) - 1
        );
    }

    #[test]
    fn lengths_must_be_minimal_and_below_two_to_the_63() {
        assert_eq!(
            client_reads(b"\x82\x7e\x00\x7d"),
            Err(ProtocolError::LengthNotMinimal)
        );
        assert_eq!(
            client_reads(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"),
            Err(ProtocolError::LengthNotMinimal)
        );
        assert_eq!(
            client_reads(b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"),
            Err(ProtocolError::LengthTooLarge)
        );
    }

    #[test]
    fn masking_is_for_clients_only() {
        assert_eq!(server_reads(b"\x81\x05"), Err(ProtocolError::UnmaskedFrame));
        assert_eq!(client_reads(b"\x81\x85"), Err(ProtocolError::MaskedFrame));
    }

    #[test]
    fn reserved_bits_and_opcodes_are_refused_by_the_first_byte() {
        for bits in [0x40, 0x20, 0x10] {
            assert_eq!(
                server_reads(&[0x81 | bits]),
                Err(ProtocolError::ReservedBits)
            );
        }
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(
                server_reads(&[0x80 | opcode]),
                Err(ProtocolError::ReservedOpcode(opcode))
            );
        }
    }

    #[test]
    fn control_frames_are_short_and_whole() {
        assert_eq!(server_reads(b"\x09"), Err(ProtocolError::FragmentedControl));
        assert_eq!(
            server_reads(b"\x89\xfe"),
            Err(ProtocolError::ControlTooLong)
        );
        assert!(server_reads(b"\x89\xfd\0\0\0\0").unwrap().is_some());
    }

    proptest! {
        #[test]
        fn encode_then_parse_is_the_identity(
            fin: bool, opcode in 0u8..3, rsv1: bool, key: Option<[u8; 4]>, length in 0u64..1 << 63, shift in 0u32..63,
        ) {
            let compressed = rsv1 && opcode > 0;
            let header = Header { fin, opcode: Opcode::parse(opcode).unwrap(), compressed, mask: key, length: length >> shift };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            let receiver = if key.is_some() { Role::Server } else { Role::Client };
            for cut in 0..bytes.len() {
                prop_assert_eq!(Header::parse(&bytes[..cut], receiver, true), Ok(None));
            }
            prop_assert_eq!(Header::parse(&bytes, receiver, true), Ok(Some((header, bytes.len()))));
        }
    }
}
