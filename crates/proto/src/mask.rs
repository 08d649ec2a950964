//! Masking (RFC 6455 §5.3): XOR with a repeating four-byte key.

/// XORs `data` with `key`, beginning at the key's byte `phase % 4`.
///
/// Masking is its own inverse. `phase` is how many bytes of the frame's payload came before `data`, so that a payload
/// may be masked piece by piece.
#[inline]
pub fn mask(data: &mut [u8], key: [u8; 4], phase: usize) {
    mask_and_gather(data, key, phase);
}

/// The same, and tells whether all bytes are ASCII now: while they are at hand, that costs next to nothing.
#[inline]
pub(crate) fn mask_and_look(data: &mut [u8], key: [u8; 4], phase: usize) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let [low, high] = mask_and_gather(data, key, phase);
    (low | high) & HIGH_BITS == 0
}

/// Masks, and gives all that came of it, ORed together.
///
/// The loop works on blocks of 64 bytes, which the compiler turns into wide vector instructions. Most messages are short, so
/// what is left behind the last block matters as much: the last 16 bytes of all are masked first, beside the data, and put over
/// its end when the rest is done, so that no ladder of ever smaller steps is needed.
#[inline(always)]
fn mask_and_gather(data: &mut [u8], key: [u8; 4], phase: usize) -> [u64; 2] {
    let key = u32::from_le_bytes(key).rotate_right(8 * (phase % 4) as u32);
    // The end begins a multiple of four bytes before the place that this key stands for.
    let end_key = key.rotate_right(8 * (data.len() % 4) as u32);
    let Some(end) = data.last_chunk::<16>() else {
        return mask_short(data, key, end_key);
    };
    let mut end = *end;
    let mut all = [0; 2];
    xor(&mut end, end_key, &mut all);
    let (blocks, rest) = data.as_chunks_mut::<64>();
    for block in blocks {
        xor(block, key, &mut all);
    }
    let rest = match rest.split_first_chunk_mut::<32>() {
        Some((half, rest)) => {
            xor(half, key, &mut all);
            rest
        }
        None => rest,
    };
    if let Some(quarter) = rest.first_chunk_mut::<16>() {
        xor(quarter, key, &mut all);
    }
    if let Some(place) = data.last_chunk_mut() {
        *place = end;
    }
    all
}

/// Of less than 16 bytes.
#[inline]
fn mask_short(data: &mut [u8], key: u32, end_key: u32) -> [u64; 2] {
    if let (Some(start), Some(end)) = (data.first_chunk(), data.last_chunk()) {
        let (start, end) = (u64::from_le_bytes(*start), u64::from_le_bytes(*end));
        let (start, end) = (start ^ twice(key), end ^ twice(end_key));
        if let Some(place) = data.first_chunk_mut() {
            *place = start.to_le_bytes();
        }
        if let Some(place) = data.last_chunk_mut() {
            *place = end.to_le_bytes();
        }
        return [start, end];
    }
    if let (Some(start), Some(end)) = (data.first_chunk(), data.last_chunk()) {
        let (start, end) = (u32::from_le_bytes(*start), u32::from_le_bytes(*end));
        let (start, end) = (start ^ key, end ^ end_key);
        if let Some(place) = data.first_chunk_mut() {
            *place = start.to_le_bytes();
        }
        if let Some(place) = data.last_chunk_mut() {
            *place = end.to_le_bytes();
        }
        return [start.into(), end.into()];
    }
    let mut all = 0;
    for (byte, key) in data.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
        all |= *byte;
    }
    [all.into(), 0]
}

/// Of a length that is known and a multiple of sixteen.
#[inline(always)]
fn xor<const N: usize>(data: &mut [u8; N], key: u32, all: &mut [u64; 2]) {
    for pair in data.as_chunks_mut::<16>().0 {
        for (word, all) in pair.as_chunks_mut::<8>().0.iter_mut().zip(&mut *all) {
            let masked = u64::from_le_bytes(*word) ^ twice(key);
            *word = masked.to_le_bytes();
            *all |= masked;
        }
    }
}

const fn twice(key: u32) -> u64 {
    key as u64 | (key as u64) << 32
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
        fn every_length_is_masked_and_looked_at(text: [u8; 200], high: Option<u8>, key: [u8; 4], phase in 0usize..8) {
            for length in 0..=text.len() {
                let mut text = text[..length].to_vec();
                text.iter_mut().for_each(|byte| *byte &= 0x7f);
                if let (Some(high), false) = (high, text.is_empty()) {
                    text[usize::from(high) % length] |= 0x80;
                }
                let mut data = by_the_book(&text, std::array::from_fn(|i| key[(i + phase) % 4]));
                prop_assert_eq!(mask_and_look(&mut data, key, phase), text.is_ascii());
                prop_assert_eq!(data, text);
            }
        }
    }
}
