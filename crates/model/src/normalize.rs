//! Rewrites a request that protobuf readers could see differently into the one form that all see alike.
//!
//! Only requests in which [`crate::check`] found something come here; it is off the fast path and may allocate.
//! Per message: repeated elements are kept in order; of a singular scalar the last occurrence counts; the occurrences of a
//! singular message are merged, which in protobuf is concatenation of their bodies; of a oneof the member that stands last
//! wins, merged over its last uninterrupted run if it is a message. Tags and lengths become shortest, invalid UTF-8
//! becomes U+FFFD. Unknown fields stay, after the known ones.
//!
//! Rules: <https://protobuf.dev/programming-guides/encoding/#last-one-wins>.

use bytes::Bytes;

use crate::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use crate::wire::{Field, Fields, Wire};
use crate::writer::Writer;

/// The request in its one form. `buf` has passed the check.
pub(crate) fn rewrite(descriptor: &'static MessageDescriptor, buf: &[u8]) -> Bytes {
    let mut writer = Writer::with_capacity(buf.len() + buf.len() / 16);
    message(descriptor, buf, &mut writer);
    writer.finish()
}

fn message(descriptor: &'static MessageDescriptor, buf: &[u8], out: &mut Writer) {
    let fields: Vec<Field> = Fields::new(buf, 0..buf.len()).collect();
    for known in descriptor.fields {
        let of_this = |field: &&Field| field.number == known.number;
        if known.repeated {
            fields.iter().filter(of_this).for_each(|field| value(known, field, buf, out));
        } else if let Some(oneof) = known.oneof {
            let run = winning_run(descriptor, oneof, &fields);
            singular(known, &run, buf, out);
        } else {
            let all: Vec<Field> = fields.iter().filter(of_this).copied().collect();
            singular(known, &all, buf, out);
        }
    }
    for unknown in fields.iter().filter(|f| descriptor.field(f.number).is_none()) {
        copy(unknown, buf, out);
    }
}

/// The last uninterrupted run of one member among the members of a oneof.
fn winning_run(descriptor: &MessageDescriptor, oneof: u8, fields: &[Field]) -> Vec<Field> {
    let members: Vec<Field> = fields
        .iter()
        .filter(|f| descriptor.field(f.number).is_some_and(|d| d.oneof == Some(oneof)))
        .copied()
        .collect();
    let Some(last) = members.last() else {
        return Vec::new();
    };
    let run = members.iter().rev().take_while(|f| f.number == last.number).count();
    members[members.len() - run..].to_vec()
}

fn singular(known: &'static FieldDescriptor, occurrences: &[Field], buf: &[u8], out: &mut Writer) {
    let Some(last) = occurrences.last() else { return };
    if last.number != known.number {
        return;
    }
    match known.kind {
        Kind::Message(inner) if occurrences.len() > 1 => {
            let merged: Vec<u8> = occurrences.iter().flat_map(|f| &buf[f.body_range()]).copied().collect();
            out.message(known.number, |out| message(inner, &merged, out));
        }
        _ => value(known, last, buf, out),
    }
}

fn value(known: &'static FieldDescriptor, field: &Field, buf: &[u8], out: &mut Writer) {
    let body = &buf[field.body_range()];
    match known.kind {
        Kind::Message(inner) => out.message(known.number, |out| message(inner, body, out)),
        Kind::String => out.string(known.number, &String::from_utf8_lossy(body)),
        _ => copy(field, buf, out),
    }
}

/// The field as it is, with the shortest tag and length.
fn copy(field: &Field, buf: &[u8], out: &mut Writer) {
    out.tag(field.number, field.wire);
    let body = &buf[field.body_range()];
    match field.wire {
        Wire::Len => {
            out.varint(body.len() as u64);
            out.raw(body);
        }
        Wire::Varint => out.varint(field.bits),
        Wire::Fixed64 | Wire::Fixed32 => out.raw(body),
    }
}
