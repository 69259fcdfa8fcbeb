//! Round trips, caps and damage for every coding.

use super::*;
use crate::body::Unlimited;
use proptest::prelude::*;

/// Counts, and refuses over a limit.
struct Meter {
    held: usize,
    limit: usize,
}

impl Admission for Meter {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if self.held + bytes > self.limit {
            return Err(Full::default());
        }
        self.held += bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.held -= bytes;
    }
}

/// Those that HTTP knows by name, which may be concatenated.
const HTTP_CODINGS: [Encoding; 3] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];
const CODINGS: [Encoding; 4] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy];

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = Bytes::from(vec![0_u8; 100 << 20]);
    for coding in CODINGS {
        let bomb = deflate(coding, std::slice::from_ref(&zeros)).unwrap();
        assert!(bomb.len() < 6 << 20, "{coding:?} {}", bomb.len());
        let limit = 4 << 20;
        let mut meter = Meter { held: 0, limit: usize::MAX };
        let error = inflate(coding, &bomb, limit, &mut meter).unwrap_err();
        assert_eq!(error.to_string(), "inflated size over the limit of 4194304 bytes");
        assert!(meter.held <= limit + 1, "{coding:?} admitted {}", meter.held);
    }
}

#[test]
fn the_budget_is_asked_first() {
    let body = deflate(Encoding::Zstd, &[Bytes::from(vec![7_u8; 1 << 20])]).unwrap();
    let mut meter = Meter { held: 0, limit: 100 << 10 };
    assert!(matches!(inflate(Encoding::Zstd, &body, 8 << 20, &mut meter), Err(InflateError::Full(_))));
    assert!(meter.held <= 100 << 10);
}

#[test]
fn exactly_at_the_limit_passes_and_one_over_does_not() {
    let data = Bytes::from((0..50_000_u32).map(|i| ((i * 7919) >> 5) as u8).collect::<Vec<_>>());
    for coding in CODINGS {
        let body = deflate(coding, std::slice::from_ref(&data)).unwrap();
        assert_eq!(inflate(coding, &body, data.len(), &mut Unlimited).unwrap(), data);
        let over = inflate(coding, &body, data.len() - 1, &mut Unlimited);
        assert_eq!(over, Err(InflateError::TooLarge { limit: data.len() - 1 }));
    }
}

#[test]
fn a_zstd_window_over_8_mib_is_refused() {
    // Magic, a frame header without single-segment flag, window descriptor of 2^27 bytes, an empty last block.
    let frame = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00]);
    let error = inflate(Encoding::Zstd, &frame, 1 << 20, &mut Unlimited).unwrap_err();
    assert!(matches!(error, InflateError::Corrupt { encoding: "zstd", .. }), "{error}");
}

#[test]
fn members_and_frames_concatenate() {
    for coding in HTTP_CODINGS {
        let mut two = deflate(coding, &[Bytes::from_static(b"first ")]).unwrap().to_vec();
        two.extend_from_slice(&deflate(coding, &[Bytes::from_static(b"second")]).unwrap());
        assert_eq!(inflate(coding, &two.into(), 100, &mut Unlimited).unwrap(), &b"first second"[..]);
    }
}

#[test]
fn a_lying_size_hint_costs_nothing() {
    let mut gzip = deflate(Encoding::Gzip, &[Bytes::from_static(b"hello")]).unwrap().to_vec();
    let at = gzip.len() - 4;
    gzip[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut meter = Meter { held: 0, limit: usize::MAX };
    assert!(inflate(Encoding::Gzip, &gzip.into(), 1 << 30, &mut meter).is_err());
    assert!(meter.held <= 64 << 10, "{}", meter.held);
}

#[test]
fn names() {
    assert_eq!(Encoding::parse(b" GZIP "), Some(Encoding::Gzip));
    assert_eq!(Encoding::parse(b""), Some(Encoding::Identity));
    assert_eq!(Encoding::parse(b"gzip, zstd"), None);
    assert_eq!(Encoding::parse(b"br"), None);
    for coding in HTTP_CODINGS {
        assert_eq!(Encoding::parse(coding.as_str().as_bytes()), Some(coding));
    }
}

proptest! {
    #[test]
    fn round_trip_and_truncation(
        chunks in prop::collection::vec(prop::collection::vec(0_u8..8, 0..3000), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole: Vec<u8> = chunks.concat();
        let chunks: Vec<Bytes> = chunks.into_iter().map(Bytes::from).collect();
        for coding in CODINGS {
            let packed = deflate(coding, &chunks).unwrap();
            let mut meter = Meter { held: 0, limit: usize::MAX };
            prop_assert_eq!(&inflate(coding, &packed, 1 << 20, &mut meter).unwrap()[..], &whole[..]);
            prop_assert!(meter.held >= whole.len());
            let short = packed.slice(..cut.index(packed.len()));
            prop_assert!(inflate(coding, &short, 1 << 20, &mut Unlimited).is_err(), "{:?}", coding);
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let noise = Bytes::from(noise);
        for coding in CODINGS {
            let _ = inflate(coding, &noise, 1 << 16, &mut Unlimited);
        }
    }
}

#[test]
fn what_snappy_claims_to_hold_is_not_believed() {
    // 16 MiB claimed by 8 bytes.
    let lie = Bytes::from_static(&[0x80, 0x80, 0x80, 0x08, 0, 0, 0, 0]);
    let mut meter = Meter { held: 0, limit: usize::MAX };
    let error = inflate(Encoding::Snappy, &lie, 64 << 20, &mut meter).unwrap_err();
    assert_eq!(error.to_string(), "bad snappy data: it claims to hold more than so many bytes can");
    assert_eq!(meter.held, 0);
    let empty = inflate(Encoding::Snappy, &Bytes::new(), 10, &mut Unlimited).unwrap_err();
    assert_eq!(empty, InflateError::Truncated { encoding: "snappy" });
    assert_eq!(Encoding::parse(b"snappy"), None);
}
