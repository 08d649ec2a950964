//! Many slices in one piece of memory, for transports that take what they write by value.

use std::io::IoSlice;

/// What goes to such a transport at one time: a DATA frame of HTTP/2 holds so much, until the peer allows more. It also
/// bounds what waits there beyond the peer's window.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// The first [`MAX_PIECE`] bytes of the slices.
pub(crate) fn gather(slices: &[IoSlice<'_>]) -> Vec<u8> {
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
