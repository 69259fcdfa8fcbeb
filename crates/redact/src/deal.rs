//! Which anchor goes into which of Teddy's buckets.
//!
//! Teddy looks at the first four bytes of eight buckets of patterns at once. What it knows of a bucket is, for each of the four
//! places, which low halves and which high halves of bytes occur there; a place in the text at which all eight halves fit is a
//! candidate, and is compared with each pattern of the bucket. So the patterns of a bucket should be alike: `/ip4` and
//! `/garlic` together let `/gat` through, and with it each `/gateway`.
//!
//! ```text
//! position in the list   0 1 2 3 4 5 6 7 8 9 …        the bucket of a pattern is its position modulo eight, but patterns whose
//! bucket                 a b c d e f g h a b …        first four bytes have the same low halves go where the first of them is
//! ```
//!
//! Invariant: every pattern is in the list. A bucket that has run out of patterns repeats one of its own to keep the count.
//! Not here: anything that the result of a search depends on; an order that is worse is only slower.

/// Orders patterns such that few places of common telemetry are candidates.
pub(crate) fn deal(patterns: &[&'static [u8]]) -> Vec<&'static [u8]> {
    let mut units: Vec<Vec<&'static [u8]>> = Vec::new();
    for pattern in patterns {
        let same = |unit: &&mut Vec<&'static [u8]>| unit.iter().any(|other| low(other) == low(pattern));
        match units.iter_mut().find(same) {
            Some(unit) => unit.push(pattern),
            None => units.push(vec![pattern]),
        }
    }
    let places = assign(&units);
    let bucket = |n: usize| {
        units.iter().zip(&places).filter(move |(_, place)| **place == n).filter_map(|(unit, _)| unit.first())
    };
    let rows = (0..BUCKETS).map(|n| bucket(n).count()).max().unwrap_or(0);
    let firsts = (0..rows)
        .flat_map(|row| (0..BUCKETS).filter_map(move |n| bucket(n).nth(row).or_else(|| bucket(n).next())));
    firsts.chain(units.iter().flat_map(|unit| unit.iter().skip(1))).copied().collect()
}

/// The bucket of each unit: each in turn goes where it adds least, and may move as long as that helps.
fn assign(units: &[Vec<&'static [u8]>]) -> Vec<usize> {
    let mut places: Vec<usize> = vec![NOWHERE; units.len()];
    for _ in 0..ROUNDS {
        let before = places.clone();
        for unit in 0..units.len() {
            places[unit] = NOWHERE;
            let within = |bucket: usize| {
                units.iter().zip(&places).filter(move |(_, place)| **place == bucket).map(|(u, _)| u)
            };
            let added = |bucket: usize| {
                cost(within(bucket).chain([&units[unit]])).saturating_sub(cost(within(bucket)))
            };
            places[unit] = (0..BUCKETS).min_by_key(|bucket| added(*bucket)).unwrap_or(0);
        }
        if places == before {
            break;
        }
    }
    places
}

/// How many false candidates a bucket with these patterns makes, in no particular unit.
fn cost<'a>(units: impl Iterator<Item = &'a Vec<&'static [u8]>> + Clone) -> u64 {
    let prefixes = || units.clone().flatten();
    let (mut lows, mut highs) = ([0u16; PREFIX], [0u16; PREFIX]);
    for prefix in prefixes() {
        for (place, byte) in prefix.iter().take(PREFIX).enumerate() {
            lows[place] |= 1 << (byte & 15);
            highs[place] |= 1 << (byte >> 4);
        }
    }
    let fits = |place: usize, byte: u8| lows[place] >> (byte & 15) & highs[place] >> (byte >> 4) & 1 == 1;
    let chance: u64 = (0..PREFIX)
        .map(|place| (0..=u8::MAX).filter(|byte| fits(place, *byte)).map(weight).sum::<u64>())
        .product();
    let fooled = SAMPLE.windows(PREFIX).filter(|four| {
        four.iter().enumerate().all(|(place, byte)| fits(place, *byte))
            && !prefixes().any(|prefix| prefix.starts_with(four))
    });
    chance + SAMPLE_WEIGHT * fooled.count() as u64
}

/// How common a byte is: digests and numbers are the long runs in which chance has time to work.
fn weight(byte: u8) -> u64 {
    match byte {
        b'0'..=b'9' => 24,
        b'a'..=b'f' => 20,
        b'g'..=b'z' | b' ' | b'/' | b'.' | b'-' | b'_' | b':' | b'=' => 8,
        b'!'..=b'~' => 2,
        _ => 1,
    }
}

/// The low halves of the bytes that Teddy looks at.
fn low(pattern: &[u8]) -> [u8; PREFIX] {
    std::array::from_fn(|place| pattern.get(place).map_or(0, |byte| byte & 15))
}

/// What telemetry is made of, to tell words that are common from those that chance makes.
const SAMPLE: &[u8] = b"service.name http.request.method url.path url.full https://gateway.example/api/v1/items?page=2 \
user_agent.original server.address network.peer.address network.transport peer.id user.id order.id db.statement SELECT * FROM \
orders WHERE /index.html /gateway/ /get /data /debug /dashboard /usr/bin /opt/app /src/ /update /users /images /health \
/internal /grpc. exception.stacktrace at com.example.Service.java:42 code.function container.image.digest sha256:0123456789 \
nodes blocks connection closed by remote, retrying in 250 ms; stream reset: context deadline exceeded /ipfs/kad/1.0.0 /libp2p/circuit /meshsub/1.1.0 application/json text/plain 2026-01-31T12:00:00.000Z INFO WARN ERROR";
/// What a candidate in the sample counts for, against the products of weights.
const SAMPLE_WEIGHT: u64 = 200_000_000;
/// Bytes of a pattern that Teddy looks at.
const PREFIX: usize = 4;
const BUCKETS: usize = 8;
/// Rounds of moves; it settles after a few.
const ROUNDS: usize = 8;
const NOWHERE: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::FAMILIES;

    #[test]
    fn every_pattern_is_dealt_and_the_sample_holds_few_candidates() {
        let all: Vec<&'static [u8]> = FAMILIES.iter().flat_map(|family| family.anchors).copied().collect();
        let dealt = deal(&all);
        assert!(all.iter().all(|pattern| dealt.contains(pattern)));
        // The buckets as Teddy fills them.
        let mut buckets = vec![Vec::new(); BUCKETS];
        for (position, pattern) in dealt.iter().enumerate() {
            let first = dealt.iter().position(|other| low(other) == low(pattern)).unwrap_or(position);
            buckets[first % BUCKETS].push(*pattern);
        }
        let fooled: u64 = buckets.iter().map(|bucket| cost([bucket].into_iter()) / SAMPLE_WEIGHT).sum();
        assert!(fooled < 2, "{fooled}: {buckets:?}");
    }

    #[test]
    fn any_patterns_are_dealt() {
        assert!(deal(&[]).is_empty());
        assert!(deal(&[b"abcd"]).contains(&&b"abcd"[..]));
        let same: Vec<&'static [u8]> = vec![b"abcd", b"abcde", b"ABCD", b"qbcd"];
        let dealt = deal(&same);
        assert!(same.iter().all(|pattern| dealt.contains(pattern)), "{dealt:?}");
    }
}
