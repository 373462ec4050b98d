//! SipHash-2-4 (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012), for key schedules.
//!
//! Not on the packet's path: it derives the sub-keys that the path's cheaper hashes use.

/// SipHash-2-4 of `message` under `key`.
pub const fn siphash_2_4(key: [u8; 16], message: &[u8]) -> u64 {
    let k0 = word(&key, 0);
    let k1 = word(&key, 8);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut at = 0;
    while at + 8 <= message.len() {
        v = compress(v, word(message, at));
        at += 8;
    }
    let mut last = (message.len() as u64) << 56;
    let mut shift = 0;
    while at < message.len() {
        last |= (message[at] as u64) << shift;
        at += 1;
        shift += 8;
    }
    v = compress(v, last);
    v[2] ^= 0xff;
    v = round(round(round(round(v))));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

const fn compress(mut v: [u64; 4], word: u64) -> [u64; 4] {
    v[3] ^= word;
    v = round(round(v));
    v[0] ^= word;
    v
}

const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

const fn word(bytes: &[u8], at: usize) -> u64 {
    let mut value = 0;
    let mut i = 0;
    while i < 8 {
        value |= (bytes[at + i] as u64) << (8 * i);
        i += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the paper's reference implementation: key 00..0f, messages 00..(n-1).
    #[test]
    fn reference_vectors() {
        let key = core::array::from_fn(|i| i as u8);
        let message: [u8; 15] = core::array::from_fn(|i| i as u8);
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(
                siphash_2_4(key, &message[..length]),
                expected,
                "length {length}"
            );
        }
    }
}
