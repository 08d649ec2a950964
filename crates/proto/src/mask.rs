//! Masking (RFC 6455 §5.3): XOR with a repeating four-byte key.

/// XORs `data` with `key`, beginning at the key's byte `phase % 4`.
///
/// Masking is its own inverse. `phase` is how many bytes of the frame's payload came before `data`, so that a payload
/// may be masked piece by piece. The loop works on 32-byte blocks, which the compiler turns into wide vector
/// instructions; what is left is done in smaller ones, since most messages are short.
#[inline]
pub fn mask(data: &mut [u8], key: [u8; 4], phase: usize) {
    let key = u32::from_le_bytes(key).rotate_right(8 * (phase % 4) as u32);
    let double = u64::from(key) | u64::from(key) << 32;
    let (blocks, rest) = data.as_chunks_mut::<32>();
    for block in blocks {
        xor(block, double);
    }
    let (halves, rest) = rest.as_chunks_mut::<16>();
    for half in halves {
        xor(half, double);
    }
    let (quarters, rest) = rest.as_chunks_mut::<8>();
    for quarter in quarters {
        xor(quarter, double);
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Of a length that is known and a multiple of eight.
#[inline]
fn xor<const N: usize>(data: &mut [u8; N], key: u64) {
    for word in data.as_chunks_mut::<8>().0 {
        *word = (u64::from_le_bytes(*word) ^ key).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula of §5.3, byte by byte: `transformed[i] = original[i] XOR key[i MOD 4]`.
    fn by_the_book(data: &[u8], key: [u8; 4]) -> Vec<u8> {
        data.iter()
            .enumerate()
            .map(|(i, b)| b ^ key[i % 4])
            .collect()
    }

    #[test]
    fn the_rfcs_own_example() {
        // §5.7: a single-frame masked text message, "Hello".
        let mut data = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        mask(&mut data, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&data, b"Hello");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_mask_as_the_whole(data: Vec<u8>, key: [u8; 4], cut in 0usize..200) {
            let expected = by_the_book(&data, key);
            let cut = cut.min(data.len());
            let mut pieces = data.clone();
            let (front, back) = pieces.split_at_mut(cut);
            mask(front, key, 0);
            mask(back, key, cut);
            prop_assert_eq!(pieces, expected);
        }
    }
}
