//! What the fuzz targets call, here so that `cargo test` can replay their corpora.

use bytes::Bytes;

use crate::descriptor::{Kind, MessageDescriptor};
use crate::otlp::request_descriptor;
use crate::wire::{Fields, Wire};
use crate::{Request, SeriesBatch, Signal, Splice};

/// Receives `data` as each signal: what is taken needs no second mending and loses no bytes to its readers.
pub fn walk(data: &[u8]) {
    for signal in Signal::ALL {
        let Ok((request, _)) = Request::receive(signal, Bytes::copy_from_slice(data)) else {
            continue;
        };
        let again = Request::receive(signal, request.bytes().clone());
        assert!(matches!(&again, Ok((same, repairs)) if !repairs.any() && *same == request));
        let end = Fields::new(request.bytes(), 0..request.bytes().len()).last().map_or(0, |f| f.end);
        assert_eq!(end, request.bytes().len());
    }
}

/// Takes the first 16 bytes as a list of edits and makes them in the rest: the result is a request again, and undoing the
/// list (an empty one) changes nothing.
pub fn splice(data: &[u8]) {
    let Some((edits, bytes)) = data.split_first_chunk::<16>() else {
        return;
    };
    for signal in Signal::ALL {
        let Ok((request, _)) = Request::receive(signal, Bytes::copy_from_slice(bytes)) else {
            continue;
        };
        let mut splice = Splice::new();
        let mut script = edits.iter().copied().cycle();
        let buf = request.bytes().clone();
        edit(request_descriptor(signal), &buf, 0..buf.len(), &mut splice, &mut script);
        let empty = splice.is_empty();
        let result = splice.apply(request.into_bytes());
        assert!(!empty || result == buf);
        assert!(Request::receive(signal, result).is_ok_and(|(_, repairs)| repairs.duplicates == 0));
    }
}

/// Reads `data` as stored series: what is taken holds to the invariants of a batch, and is written to the same series again.
pub fn stored_series(data: &[u8]) {
    let Ok(batch) = SeriesBatch::from_bytes(data) else { return };
    assert!(batch.size() <= 64 * data.len() + 64, "{} bytes made {}", data.len(), batch.size());
    let mut items = 0;
    for series in batch.iter() {
        items += series.items();
        assert!(series.labels().iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b));
        series
            .exemplars()
            .for_each(|exemplar| assert_eq!(exemplar.labels.iter().len(), exemplar.labels.len()));
        assert_eq!(series.samples().len() + series.histograms().count(), series.len());
    }
    assert_eq!(batch.items(), items);
    let written = batch.to_bytes();
    let Ok(again) = SeriesBatch::from_bytes(&written) else { panic!("what was written cannot be read") };
    // NaN is not equal to itself, so bytes are compared.
    assert_eq!(again.to_bytes(), written);
    assert!(again.len() == batch.len() && again.items() == batch.items());
}

fn edit(
    descriptor: &'static MessageDescriptor,
    buf: &[u8],
    range: std::ops::Range<usize>,
    splice: &mut Splice,
    script: &mut impl Iterator<Item = u8>,
) {
    for field in Fields::new(buf, range) {
        let action = script.next().unwrap_or_default();
        match (descriptor.field(field.number).map(|d| d.kind), field.wire) {
            (Some(Kind::Message(inner)), Wire::Len) => {
                splice.open(&field);
                edit(inner, buf, field.body_range(), splice, script);
                if action == 1 { splice.discard() } else { splice.close() }
            }
            (Some(Kind::String), Wire::Len) if action & 2 == 2 => {
                splice.open(&field);
                splice.replace(field.body_range(), &[b'x'; 255][..usize::from(action)]);
                splice.close();
            }
            _ if action == 5 => splice.delete_field(&field),
            _ => {}
        }
    }
}
