//! Values in multiaddrs: `/ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…`.
//!
//! The address of a peer is its identity, so the values of these protocols are findings of their own; names of
//! protocols, ports and everything else stay:
//! ```text
//! /ip4/ /ip6/                      address
//! /dns/ /dns4/ /dns6/ /dnsaddr/    host name
//! /sni/                            host name (p2p-forge puts the IP address and the peer id into it)
//! /onion/ /onion3/                 service id; the port after ':' stays
//! /garlic32/ /garlic64/            destination
//! /unix/                           path, up to /p2p/ or the end
//! /p2p/                            a peer id that nothing else recognises
//! ```
//! No multiaddr is parsed as a whole: each value is found by the name before it, so a multiaddr that is cut off, or
//! that holds a protocol unknown to us, is redacted as far as it goes. Slashes may be escaped (see `text`).
//!
//! Kept because they name nobody: 127.0.0.0/8, 0.0.0.0, ::1, ::, `localhost`. Private ranges are not kept: together
//! with a port they tell the peers of one network apart.
//!
//! A path that starts with one of our own pseudonyms, or a host name that holds one, stays too: it was redacted
//! before.
//!
//! IPv4-mapped IPv6 addresses count as IPv4, so both spellings get one pseudonym.
//!
//! `p2p`, `dns`, `sni` and `unix` are also words in ordinary paths (`go-libp2p/p2p/protocol/identify`,
//! `golang.org/x/sys/unix/…`), so they need more than the name: see [`looks_like_id`], [`names_host`], [`unix`].
//!
//! Not here: addresses outside multiaddrs, binary multiaddrs, `/certhash/`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Canonical, Class, Family, Finding, Site, Verdict, peer_id};
use crate::text;

pub(super) const FAMILY: Family = Family {
    anchors: &[
        b"/ip4",
        b"/ip6",
        b"/dns",
        b"/p2p",
        b"/onion",
        b"/garlic",
        b"/unix",
        b"/sni",
        b"\\u002",
        // Escaped for URLs once, in either case, and more often.
        b"%2Fip4",
        b"%2Fip6",
        b"%2Fdns",
        b"%2Fp2p",
        b"%2Fonion",
        b"%2Fgarlic",
        b"%2Funix",
        b"%2Fsni",
        b"%2fip4",
        b"%2fip6",
        b"%2fdns",
        b"%2fp2p",
        b"%2fonion",
        b"%2fgarlic",
        b"%2funix",
        b"%2fsni",
        b"%252F",
        b"%252f",
        b"%2525",
    ],
    needles: &[],
    confirm,
};

/// Names of protocols that may follow a host name.
const FOLLOWERS: [&[u8]; 15] = [
    b"tcp",
    b"udp",
    b"p2p",
    b"ipfs",
    b"ws",
    b"wss",
    b"tls",
    b"http",
    b"https",
    b"quic",
    b"quic-v1",
    b"p2p-circuit",
    b"sctp",
    b"utp",
    b"dccp",
];

const LONGEST_IP: usize = 64;

fn confirm<'t>(site: &Site<'t>) -> Verdict<'t> {
    let Some(name) = text::separator_at(site.text, site.at) else {
        return Verdict::Pass;
    };
    let name_end = name + site.text[name..].iter().take(9).take_while(|b| b.is_ascii_alphanumeric()).count();
    let Some(value) = text::separator_at(site.text, name_end) else {
        return Verdict::Pass;
    };
    let found = match &site.text[name..name_end] {
        b"ip4" => ip4(site, value),
        b"ip6" => ip6(site, value),
        b"dns4" | b"dns6" | b"dnsaddr" => host(site, value, true),
        b"dns" | b"sni" => host(site, value, false),
        b"onion" | b"onion3" => opaque(site, value, Class::MultiaddrOnion),
        b"garlic32" | b"garlic64" => opaque(site, value, Class::MultiaddrGarlic),
        b"unix" => unix(site, value),
        b"p2p" => return p2p(site, value),
        _ => return Verdict::Pass,
    };
    found.map_or_else(Verdict::Rejected, Verdict::Found)
}

/// A finding, or the class of a value that stays.
type Found<'t> = Result<Finding<'t>, Class>;

fn finding<'t>(
    site: &Site<'t>,
    start: usize,
    end: usize,
    class: Class,
    canonical: Canonical<'t>,
) -> Finding<'t> {
    Finding { range: start..end, class, partial: false, canonical, anchor: site.at }
}

fn ip4<'t>(site: &Site<'t>, start: usize) -> Found<'t> {
    let end = text::run(site.text, start, LONGEST_IP, |b| b.is_ascii_digit() || b == b'.');
    let end = end - trailing_dots(&site.text[start..end]);
    let chars = &site.text[start..end];
    match parse::<Ipv4Addr>(chars) {
        Some(ip) => address(site, start, end, IpAddr::V4(ip)),
        // Four numbers out of range, or an address that was cut off: closed when in doubt.
        None if chars.contains(&b'.') => Ok(partial(site, start, end, Class::MultiaddrIp)),
        None => Err(Class::MultiaddrIp),
    }
}

fn ip6<'t>(site: &Site<'t>, start: usize) -> Found<'t> {
    // A colon may be percent-encoded: read into a buffer, but keep the range over the text.
    let mut chars = [0u8; LONGEST_IP];
    let (mut end, mut length) = (start, 0);
    while length < LONGEST_IP {
        let (byte, next) = match &site.text[end..] {
            [b'%', b'3', b'A' | b'a', ..] => (b':', end + 3),
            [byte, ..] if byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.') => (*byte, end + 1),
            _ => break,
        };
        chars[length] = byte;
        (length, end) = (length + 1, next);
    }
    let dots = trailing_dots(&site.text[start..end]);
    let (chars, end) = (&chars[..length - dots], end - dots);
    match parse::<Ipv6Addr>(chars) {
        Some(ip) => address(site, start, end, IpAddr::V6(ip).to_canonical()),
        None if chars.contains(&b':') => Ok(partial(site, start, end, Class::MultiaddrIp)),
        None => Err(Class::MultiaddrIp),
    }
}

fn address<'t>(site: &Site<'t>, start: usize, end: usize, ip: IpAddr) -> Found<'t> {
    if ip.is_loopback() || ip.is_unspecified() {
        return Err(Class::MultiaddrIp);
    }
    let canonical = match ip {
        IpAddr::V4(ip) => Canonical::of(&ip.octets()),
        IpAddr::V6(ip) => Canonical::of(&ip.octets()),
    };
    Ok(finding(site, start, end, Class::MultiaddrIp, canonical))
}

fn host<'t>(site: &Site<'t>, start: usize, certain: bool) -> Found<'t> {
    let class = Class::MultiaddrDns;
    let member = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*') || b >= 0x80;
    let length = site.text[start..].iter().take_while(|&&b| member(b)).count();
    let end = start + length - trailing_dots(&site.text[start..start + length]);
    let name = &site.text[start..end];
    let nobody = name.is_empty() || name.eq_ignore_ascii_case(b"localhost") || FOLLOWERS.contains(&name);
    // With a pseudonym inside, it was looked at before, when its surroundings could still be told.
    if nobody || text::contains_pseudonym(site.text, start, end) {
        return Err(class);
    }
    if !certain && !names_host(site, name, end) {
        return Err(class);
    }
    Ok(finding(site, start, end, class, Canonical::Folded(name)))
}

/// Whether `/dns/name` or `/sni/name` is part of a multiaddr, not of some path: another protocol follows, or the
/// multiaddr starts here and the name has a dot.
fn names_host(site: &Site<'_>, name: &[u8], end: usize) -> bool {
    let follows = text::separator_at(site.text, end).is_some_and(|next| {
        let rest = &site.text[next..];
        let length = rest.iter().take(12).take_while(|b| b.is_ascii_alphanumeric() || **b == b'-').count();
        // A bracket is a mask, and stands for more letters.
        FOLLOWERS.contains(&&rest[..length]) && rest.get(length) != Some(&b'[')
    });
    follows || (name.contains(&b'.') && starts_multiaddr(site))
}

fn opaque<'t>(site: &Site<'t>, start: usize, class: Class) -> Found<'t> {
    let onion = class == Class::MultiaddrOnion;
    let member = |b: u8| b.is_ascii_alphanumeric() || (!onion && matches!(b, b'-' | b'~' | b'+' | b'='));
    let end = text::run(site.text, start, usize::MAX, member);
    let chars = &site.text[start..end];
    match (end - start, onion) {
        (0..8, _) => Err(class),
        (16 | 56, true) => Ok(finding(site, start, end, class, Canonical::Folded(chars))),
        (_, true) => Ok(partial(site, start, end, class)),
        // base32 up to 60 characters or so; base64 destinations are 516 and more, and case matters.
        (..100, false) => Ok(finding(site, start, end, class, Canonical::Folded(chars))),
        (100.., false) => Ok(finding(site, start, end, class, Canonical::Text(chars))),
    }
}

/// A path, only where a multiaddr can start: `/unix/` inside a longer path is a folder.
fn unix<'t>(site: &Site<'t>, start: usize) -> Found<'t> {
    let class = Class::MultiaddrUnix;
    if !starts_multiaddr(site) {
        return Err(class);
    }
    let mut end = start;
    while let Some(&byte) = site.text.get(end) {
        if let Some(next) = text::separator_at(site.text, end) {
            if site.text[next..].starts_with(b"p2p") && text::separator_at(site.text, next + 3).is_some() {
                break;
            }
            end = next;
        } else if ends_path(byte) {
            break;
        } else {
            end += 1;
        }
    }
    if end == start || text::pseudonym_at(site.text, start).is_some() {
        return Err(class);
    }
    Ok(finding(site, start, end, class, Canonical::Text(&site.text[start..end])))
}

/// Whether a multiaddr may start at the anchor: no path runs into it.
fn starts_multiaddr(site: &Site<'_>) -> bool {
    let head = &site.text[..site.at];
    let escapes = head.iter().rev().take(4).take_while(|&&b| b == b'\\').count();
    let start = head.len() - escapes;
    match head[..start].last() {
        None => true,
        // The end of a replacement: what stood there was part of a path.
        Some(b']') => false,
        // A letter may be the end of an escape, such as `\n`.
        Some(byte) if byte.is_ascii_alphanumeric() => text::starts_token(site.text, start),
        Some(&byte) => ends_path(byte),
    }
}

fn ends_path(byte: u8) -> bool {
    byte <= b' '
        || matches!(
            byte,
            b'"' | b'\''
                | b'`'
                | b','
                | b';'
                | b'('
                | b')'
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'<'
                | b'>'
                | b'|'
                | b'='
                | b'\\'
        )
}

fn p2p<'t>(site: &Site<'t>, start: usize) -> Verdict<'t> {
    let inner = Site { text: site.text, at: start, floor: start, rules: site.rules };
    if let Verdict::Found(finding) = peer_id::confirm(&inner) {
        return Verdict::Found(finding);
    }
    let end = text::run(site.text, start, usize::MAX, |b| b.is_ascii_alphanumeric());
    if looks_like_id(&site.text[start..end]) {
        return Verdict::Found(peer_id::partial(site.text, start..end, site.at));
    }
    Verdict::Rejected(Class::PeerId)
}

/// Whether the value of `/p2p/` may be a garbled id rather than a word of a path (`/p2p/protocol/…`): eight characters
/// or more, and a digit, or two capitals among small letters, or the start of a peer id in base32.
fn looks_like_id(value: &[u8]) -> bool {
    let capitals = value.iter().filter(|b| b.is_ascii_uppercase()).count();
    value.len() >= 8
        && (value.iter().any(u8::is_ascii_digit)
            || (capitals >= 2 && value.iter().any(u8::is_ascii_lowercase))
            || text::starts_with_fold(value, b"bafz"))
}

fn partial<'t>(site: &Site<'t>, start: usize, end: usize, class: Class) -> Finding<'t> {
    let canonical = Canonical::Text(&site.text[start..end]);
    Finding { range: start..end, class, partial: true, canonical, anchor: site.at }
}

fn parse<T: std::str::FromStr>(chars: &[u8]) -> Option<T> {
    std::str::from_utf8(chars).ok()?.parse().ok()
}

fn trailing_dots(chars: &[u8]) -> usize {
    chars.iter().rev().take_while(|&&b| b == b'.').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_anchor_behind_every_spelling_of_a_slash() {
        let names = [
            "ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "sni", "onion", "onion3", "garlic32", "garlic64",
        ];
        let slashes = [
            "/",
            "\\/",
            "\\\\/",
            "\\u002f",
            "\\u002F",
            "\\\\u002f",
            "%2F",
            "%2f",
            "%252F",
            "%252f",
            "%25252F",
            "%2525252f",
            "%252525252F",
        ];
        for (name, slash) in names.iter().chain(&["unix", "p2p"]).flat_map(|n| slashes.map(|s| (n, s))) {
            let text = format!("{slash}{name}");
            let anchored = (0..text.len()).any(|at| {
                text::separator_at(text.as_bytes(), at) == Some(slash.len())
                    && FAMILY.anchors.iter().any(|anchor| text.as_bytes()[at..].starts_with(anchor))
            });
            assert!(anchored, "{text}");
        }
    }
}
