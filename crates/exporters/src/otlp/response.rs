//! `Export*ServiceResponse { 1: partial_success { 1: rejected (int64)  2: error_message } }`, the same for every signal.

use engine::{Exported, Rejected};
use model::View;

use crate::http_shared::printable;

/// Reads what a destination says of a request that it took. An answer that is no such message says nothing.
pub(super) fn exported(response: &[u8]) -> Exported {
    let root = View::root(response);
    let Some(partial) = root.field(1).map(|field| View::at(response, field)) else {
        return Exported::default();
    };
    let items = partial.scalar(1).and_then(|bits| u64::try_from(bits as i64).ok()).unwrap_or_default();
    if items == 0 {
        return Exported::default();
    }
    let message = printable(partial.string(2).unwrap_or_default());
    // Which of them, the protocol does not say.
    let rejected = vec![Rejected { reason: "rejected_by_destination", items, message, payloads: Vec::new() }];
    Exported { rejected, remainder: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Writer;

    #[test]
    fn partial_success_is_read() {
        let mut writer = Writer::new();
        writer.message(1, |w| {
            w.int(1, 3);
            w.string(2, "too old");
        });
        let exported = exported(&writer.finish());
        let [Rejected { items: 3, message, .. }] = &exported.rejected[..] else { panic!("{exported:?}") };
        assert_eq!(message, "too old");
    }

    #[test]
    fn empty_negative_and_broken_answers_reject_nothing() {
        let mut negative = Writer::new();
        negative.message(1, |w| w.int(1, -1));
        for bytes in [&b""[..], b"\x0a\x00", b"\x0a\x7f\x08", b"not protobuf", &negative.finish()] {
            assert_eq!(exported(bytes), Exported::default());
        }
    }
}
