//! Masking (RFC 6455 §5.3): XOR with a repeating four-byte key.

/// XORs `data` with `key`, beginning at the key's byte `phase % 4`.
///
/// Masking is its own inverse. `phase` is how many bytes of the frame's payload came before `data`, so that a payload
/// may be masked piece by piece.
///
/// The loop works on blocks of 64 bytes, which the compiler turns into wide vector instructions. Most messages are short, so
/// what is left behind the last block matters as much: the last 16 bytes of all are masked first, beside the data, and put over
/// its end when the rest is done, so that no ladder of ever smaller steps is needed.
#[inline]
pub fn mask(data: &mut [u8], key: [u8; 4], phase: usize) {
    let key = u32::from_le_bytes(key).rotate_right(8 * (phase % 4) as u32);
    // The end begins a multiple of four bytes before the place that this key stands for.
    let end_key = key.rotate_right(8 * (data.len() % 4) as u32);
    let Some(end) = data.last_chunk::<16>() else {
        return mask_short(data, key, end_key);
    };
    let end = xor(*end, end_key);
    let (blocks, rest) = data.as_chunks_mut::<64>();
    for block in blocks {
        *block = xor(*block, key);
    }
    let rest = match rest.split_first_chunk_mut::<32>() {
        Some((half, rest)) => {
            *half = xor(*half, key);
            rest
        }
        None => rest,
    };
    if let Some(quarter) = rest.first_chunk_mut::<16>() {
        *quarter = xor(*quarter, key);
    }
    if let Some(place) = data.last_chunk_mut() {
        *place = end;
    }
}

/// Whether what is masked is ASCII. Asked before it is unmasked: bytes that were only just written can't be read at once in wider
/// words than they were written in, and waiting for that takes longer than all the rest.
#[inline]
pub(crate) fn is_ascii_masked(data: &[u8], key: [u8; 4]) -> bool {
    let key = u32::from_le_bytes(key);
    let end_key = key.rotate_right(8 * (data.len() % 4) as u32);
    are_blocks_ascii::<64>(data, key, end_key)
        .or_else(|| are_blocks_ascii::<16>(data, key, end_key))
        .unwrap_or_else(|| {
            let keys = key.to_le_bytes().into_iter().cycle();
            data.iter()
                .zip(keys)
                .all(|(byte, key)| (byte ^ key).is_ascii())
        })
}

/// The same in blocks, of which the last one overlaps the one before it. Each is gathered before it is looked at, so that it is
/// done in vectors. `None` for what is no whole block.
#[inline(always)]
fn are_blocks_ascii<const N: usize>(data: &[u8], key: u32, end_key: u32) -> Option<bool> {
    let is_ascii = |block: &[u8; N], key: u32| {
        let words = block.as_chunks::<4>().0.iter();
        let all = words.fold(0, |all, word| all | (u32::from_le_bytes(*word) ^ key));
        all & 0x8080_8080 == 0
    };
    let end = data.last_chunk()?;
    let (blocks, _) = data.as_chunks();
    Some(blocks.iter().all(|block| is_ascii(block, key)) && is_ascii(end, end_key))
}

/// Of less than 16 bytes.
#[inline]
fn mask_short(data: &mut [u8], key: u32, end_key: u32) {
    if mask_both_ends::<8>(data, key, end_key) || mask_both_ends::<4>(data, key, end_key) {
        return;
    }
    for (byte, key) in data.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Of at least `N` bytes, and at most twice as many: where both ends overlap, they are the same.
#[inline(always)]
fn mask_both_ends<const N: usize>(data: &mut [u8], key: u32, end_key: u32) -> bool {
    let (Some(start), Some(end)) = (data.first_chunk::<N>(), data.last_chunk::<N>()) else {
        return false;
    };
    let (start, end) = (xor(*start, key), xor(*end, end_key));
    if let Some(place) = data.first_chunk_mut() {
        *place = start;
    }
    if let Some(place) = data.last_chunk_mut() {
        *place = end;
    }
    true
}

/// Of a length that is known, and a multiple of four.
#[inline(always)]
fn xor<const N: usize>(mut data: [u8; N], key: u32) -> [u8; N] {
    for word in data.as_chunks_mut::<4>().0 {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
    data
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

        #[test]
        fn ascii_is_seen_through_the_mask(text: [u8; 200], high: Option<u8>, key: [u8; 4]) {
            for length in 0..=text.len() {
                let mut text = text[..length].to_vec();
                text.iter_mut().for_each(|byte| *byte &= 0x7f);
                if let (Some(high), false) = (high, text.is_empty()) {
                    text[usize::from(high) % length] |= 0x80;
                }
                prop_assert_eq!(is_ascii_masked(&by_the_book(&text, key), key), text.is_ascii());
            }
        }

        #[test]
        fn every_length_is_masked(text: [u8; 200], key: [u8; 4], phase in 0usize..8) {
            for length in 0..=text.len() {
                let mut data = text[..length].to_vec();
                mask(&mut data, key, phase);
                let key = std::array::from_fn(|i| key[(i + phase) % 4]);
                prop_assert_eq!(data, by_the_book(&text[..length], key));
            }
        }
    }
}
