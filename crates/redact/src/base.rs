//! Decoders for the number bases that ids are written in: base58btc, base36, base32, base32hex, base64, hex.
//!
//! Invariants: nothing is allocated; the result is at most [`MAX_BYTES`] bytes; a character outside the alphabet or a
//! value that does not fit gives `None`, never a panic.
//!
//! base58 and base36 are numbers, so the whole text is one big integer. It is kept in 64-bit limbs, and as many
//! characters as fit in 64 bits (10 of base58, 12 of base36) are folded into it with one multiplication per limb:
//! ```text
//! limbs = limbs * 58^10 + value of the next 10 characters
//! ```
//! The others are bit strings: 5, 6 or 4 bits a character, most significant first. Left-over bits at the end are not
//! checked, because an id with a garbled last bit still names its peer.
//!
//! Not here: lengths, prefixes and headers, which belong to the detectors.

/// Longest value that a decoder here returns, in bytes.
pub(crate) const MAX_BYTES: usize = LIMBS * 8;
const LIMBS: usize = 6;
const BAD: u8 = 0x80;

/// Alphabet and arithmetic of a text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// base58btc, case-sensitive.
    B58,
    /// base36, either case.
    B36,
    /// RFC 4648 base32, either case.
    B32,
    /// RFC 4648 base32hex, either case.
    B32Hex,
    /// base64 and base64url, both alphabets at once.
    B64,
    /// Hexadecimal, either case.
    Hex,
}

impl Base {
    /// Whether `byte` is a character of this alphabet.
    pub(crate) fn contains(self, byte: u8) -> bool {
        self.table()[usize::from(byte)] & BAD == 0
    }

    /// Whether upper and lower case mean the same.
    pub(crate) fn folds_case(self) -> bool {
        !matches!(self, Base::B58 | Base::B64)
    }

    /// Decodes `text` to exactly `len` bytes, at the front of the array; the rest is zero.
    /// `None`: a foreign character, or the value needs another number of bytes.
    pub(crate) fn decode(self, text: &[u8], len: usize) -> Option<[u8; MAX_BYTES]> {
        match self {
            Base::B58 => number(text, len, &BASE58, &POWERS58),
            Base::B36 => number(text, len, &BASE36, &POWERS36),
            Base::B32 => bits(text, len, &BASE32, 5),
            Base::B32Hex => bits(text, len, &BASE32HEX, 5),
            Base::B64 => bits(text, len, &BASE64, 6),
            Base::Hex => bits(text, len, &HEX, 4),
        }
    }

    fn table(self) -> &'static [u8; 256] {
        match self {
            Base::B58 => &BASE58,
            Base::B36 => &BASE36,
            Base::B32 => &BASE32,
            Base::B32Hex => &BASE32HEX,
            Base::B64 => &BASE64,
            Base::Hex => &HEX,
        }
    }
}

/// Value of `text` as one integer, in `len` big-endian bytes.
fn number<const N: usize>(
    text: &[u8],
    len: usize,
    table: &[u8; 256],
    powers: &[u64; N],
) -> Option<[u8; MAX_BYTES]> {
    let mut limbs = [0u64; LIMBS];
    let mut used = 0;
    let mut seen = 0u8;
    let radix = powers[1];
    for chunk in text.chunks(N - 1) {
        let mut value = 0u64;
        for &byte in chunk {
            let digit = table[usize::from(byte)];
            seen |= digit;
            // A foreign character is 0x80 here: the sum may wrap, the result is thrown away below.
            value = value.wrapping_mul(radix).wrapping_add(u64::from(digit));
        }
        let mut carry = value;
        for limb in &mut limbs[..used] {
            let wide = u128::from(*limb) * u128::from(powers[chunk.len()]) + u128::from(carry);
            *limb = wide as u64;
            carry = (wide >> 64) as u64;
        }
        if carry != 0 {
            *limbs.get_mut(used)? = carry;
            used += 1;
        }
    }
    if seen & BAD != 0 || len > MAX_BYTES {
        return None;
    }
    let mut big_endian = [0u8; MAX_BYTES];
    for (bytes, limb) in big_endian.rchunks_exact_mut(8).zip(limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    let (excess, _) = big_endian.split_at(MAX_BYTES - len);
    if excess.iter().any(|&byte| byte != 0) {
        return None;
    }
    big_endian.copy_within(MAX_BYTES - len.., 0);
    big_endian[len..].fill(0);
    Some(big_endian)
}

/// Bytes of `text` as a bit string of `width` bits a character; bits after the last whole byte are ignored.
fn bits(text: &[u8], len: usize, table: &[u8; 256], width: u32) -> Option<[u8; MAX_BYTES]> {
    if text.len() * width as usize / 8 != len || len > MAX_BYTES {
        return None;
    }
    let mut out = [0u8; MAX_BYTES];
    let (mut held, mut count, mut at, mut seen) = (0u32, 0, 0, 0u8);
    for &byte in text {
        let digit = table[usize::from(byte)];
        seen |= digit;
        held = held << width | u32::from(digit & !BAD);
        count += width;
        if count >= 8 {
            count -= 8;
            out[at] = (held >> count) as u8;
            at += 1;
        }
    }
    (seen & BAD == 0).then_some(out)
}

const fn powers<const N: usize>(radix: u64) -> [u64; N] {
    let mut powers = [1u64; N];
    let mut i = 1;
    while i < N {
        powers[i] = powers[i - 1] * radix;
        i += 1;
    }
    powers
}

/// Table from byte to digit; [`BAD`] where there is none.
const fn digits(alphabet: &[u8], fold_case: bool) -> [u8; 256] {
    let mut table = [BAD; 256];
    let mut i = 0;
    while i < alphabet.len() {
        let byte = alphabet[i];
        table[byte as usize] = i as u8;
        if fold_case {
            table[byte.to_ascii_uppercase() as usize] = i as u8;
        }
        i += 1;
    }
    table
}

const fn base64_digits() -> [u8; 256] {
    let mut table = digits(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", false);
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
}

static POWERS58: [u64; 11] = powers(58);
static POWERS36: [u64; 13] = powers(36);
static BASE58: [u8; 256] = digits(b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", false);
static BASE36: [u8; 256] = digits(b"0123456789abcdefghijklmnopqrstuvwxyz", true);
static BASE32: [u8; 256] = digits(b"abcdefghijklmnopqrstuvwxyz234567", true);
static BASE32HEX: [u8; 256] = digits(b"0123456789abcdefghijklmnopqrstuv", true);
static BASE64: [u8; 256] = base64_digits();
static HEX: [u8; 256] = digits(b"0123456789abcdef", true);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Schoolbook: one character at a time, byte by byte.
    fn naive(text: &[u8], alphabet: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut value = vec![0u8; len];
        for byte in text {
            let mut carry = alphabet.iter().position(|a| a == byte)?;
            for place in value.iter_mut().rev() {
                carry += usize::from(*place) * alphabet.len();
                *place = carry as u8;
                carry >>= 8;
            }
            if carry != 0 {
                return None;
            }
        }
        Some(value)
    }

    const A58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const A36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    proptest! {
        #[test]
        fn base58_agrees_with_schoolbook(text in "[1-9A-HJ-NP-Za-km-z]{0,70}|[0-9A-Za-z]{0,60}", len in 0usize..=48) {
            let got = Base::B58.decode(text.as_bytes(), len).map(|b| b[..len].to_vec());
            prop_assert_eq!(got, naive(text.as_bytes(), A58, len));
        }

        #[test]
        fn base36_agrees_with_schoolbook(text in "[0-9a-z]{0,80}", len in 0usize..=48) {
            let got = Base::B36.decode(text.as_bytes(), len).map(|b| b[..len].to_vec());
            prop_assert_eq!(got, naive(text.as_bytes(), A36, len));
            let upper = Base::B36.decode(text.to_ascii_uppercase().as_bytes(), len);
            prop_assert_eq!(upper, Base::B36.decode(text.as_bytes(), len));
        }

        #[test]
        fn bit_strings_agree_with_schoolbook(text in "[a-z2-7]{0,76}") {
            // Whole 40-bit groups only, where a bit string and a number are the same.
            let text = &text.as_bytes()[..text.len() / 8 * 8];
            let len = text.len() * 5 / 8;
            let got = Base::B32.decode(text, len).map(|b| b[..len].to_vec());
            prop_assert_eq!(got, naive(text, b"abcdefghijklmnopqrstuvwxyz234567", len));
        }

        #[test]
        fn any_bytes_decode_or_not_but_never_panic(text in prop::collection::vec(any::<u8>(), 0..120), len in 0usize..=60) {
            for base in [Base::B58, Base::B36, Base::B32, Base::B32Hex, Base::B64, Base::Hex] {
                let _ = base.decode(&text, len);
            }
        }
    }

    #[test]
    fn hex_and_base64_decode() {
        assert_eq!(Base::Hex.decode(b"00fF10", 3).unwrap()[..3], [0, 255, 16]);
        assert_eq!(Base::B64.decode(b"AP8Q", 3).unwrap()[..3], [0, 255, 16]);
        assert_eq!(Base::B64.decode(b"-_8", 2).unwrap()[..2], Base::B64.decode(b"+/8", 2).unwrap()[..2]);
        assert!(Base::B64.decode(b"AP*Q", 3).is_none());
    }
}
