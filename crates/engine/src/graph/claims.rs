//! Finds two components that want the same port or file, before either takes it.
//!
//! Addresses clash when their ports are equal and their hosts are equal or one of them stands for all; files clash when they
//! are the same, or one is a folder that holds the other. Names are not looked up and links not followed: what is missed
//! here, the system says at start.

use std::path::{Component, Path, PathBuf};

use super::{ComponentSpec, GraphError, GraphSpec, Plan};
use crate::component::Claim;
use crate::metrics::ComponentKind;

/// Checks every pair of claims of the components in use and of the program itself.
pub(super) fn check(spec: &GraphSpec, plan: &Plan) -> Result<(), GraphError> {
    let mut claims = spec.reserved.clone();
    for ComponentSpec { id, config, .. } in &spec.receivers {
        add(&mut claims, plan, ComponentKind::Receiver, id, || config.claims());
    }
    for ComponentSpec { id, config, .. } in &spec.exporters {
        add(&mut claims, plan, ComponentKind::Exporter, id, || {
            config.claims().into_iter().chain(config.delivery().claims()).collect()
        });
    }
    for (n, (first, one)) in claims.iter().enumerate() {
        for (second, other) in &claims[n + 1..] {
            if clash(one, other) {
                let (first, second) = (first.clone(), second.clone());
                return Err(GraphError::Clash { first, second, what: describe(one, other) });
            }
        }
    }
    Ok(())
}

fn add(
    claims: &mut Vec<(String, Claim)>,
    plan: &Plan,
    kind: ComponentKind,
    id: &str,
    of: impl FnOnce() -> Vec<Claim>,
) {
    if plan.uses(kind, id) {
        claims.extend(of().into_iter().map(|claim| (format!("{kind} {id}"), claim)));
    }
}

fn describe(one: &Claim, other: &Claim) -> String {
    let text = |claim: &Claim| match claim {
        Claim::Tcp(address) => format!("TCP {address}"),
        Claim::Udp(address) => format!("UDP {address}"),
        Claim::Path(path) => path.display().to_string(),
    };
    if one == other { text(one) } else { format!("the same place ({} and {})", text(one), text(other)) }
}

fn clash(one: &Claim, other: &Claim) -> bool {
    match (one, other) {
        (Claim::Tcp(one), Claim::Tcp(other)) | (Claim::Udp(one), Claim::Udp(other)) => {
            addresses_clash(one, other)
        }
        (Claim::Path(one), Claim::Path(other)) => {
            let (one, other) = (plain(one), plain(other));
            one.starts_with(&other) || other.starts_with(&one)
        }
        _ => false,
    }
}

fn addresses_clash(one: &str, other: &str) -> bool {
    let (Some((one_host, one_port)), Some((other_host, other_port))) =
        (one.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return one == other;
    };
    // Port 0 is any free one.
    if one_port != other_port || one_port == "0" {
        return false;
    }
    let (one, other) = (Host::of(one_host), Host::of(other_host));
    match (&one, &other) {
        // `[::]` takes IPv4 as well, unless told otherwise.
        (Host::All, _) | (_, Host::All) => true,
        (Host::AllV4, host) | (host, Host::AllV4) => !matches!(host, Host::One(name) if name.contains("::")),
        (Host::One(one), Host::One(other)) => one == other,
    }
}

#[derive(Debug, PartialEq)]
enum Host {
    All,
    AllV4,
    One(String),
}

impl Host {
    fn of(host: &str) -> Self {
        match host.trim_start_matches('[').trim_end_matches(']') {
            "" | "*" | "::" => Self::All,
            "0.0.0.0" => Self::AllV4,
            "localhost" => Self::One("127.0.0.1".to_owned()),
            host => Self::One(host.to_ascii_lowercase()),
        }
    }
}

/// The path from the root, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let clash = |one: &str, other: &str| {
            let there = addresses_clash(one, other);
            assert_eq!(there, addresses_clash(other, one), "{one} {other}: not the same both ways");
            there
        };
        assert!(clash("127.0.0.1:4317", "127.0.0.1:4317"));
        assert!(clash("0.0.0.0:4317", "127.0.0.1:4317"));
        assert!(clash("localhost:4317", "127.0.0.1:4317"));
        assert!(clash("[::]:4317", "10.0.0.1:4317"));
        assert!(clash("[::1]:4317", "[::]:4317"));
        assert!(clash(":4317", "0.0.0.0:4317"));
        assert!(!clash("0.0.0.0:4317", "[::1]:4317"));
        assert!(!clash("127.0.0.1:4317", "127.0.0.2:4317"));
        assert!(!clash("0.0.0.0:4317", "0.0.0.0:4318"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn protocols_and_paths() {
        let path = |path: &str| Claim::Path(path.into());
        assert!(!clash(&Claim::Tcp("a:1".into()), &Claim::Udp("a:1".into())));
        assert!(clash(&path("data/traces.jsonl"), &path("./data/x/../traces.jsonl")));
        assert!(clash(&path("data"), &path("data/traces.jsonl")));
        assert!(!clash(&path("data/traces.jsonl"), &path("data/logs.jsonl")));
        assert!(!clash(&path("data"), &path("database")));
    }
}
