//! The tables and views in `src/otlp/` are generated from `proto/`. This test fails when they have drifted;
//! `UPDATE_GENERATED=1 cargo test -p model --test generated` writes them anew.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io::Write as _};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const FILES: &[(&str, &str)] = &[
    ("common", "opentelemetry/proto/common/v1/common.proto"),
    ("resource", "opentelemetry/proto/resource/v1/resource.proto"),
    ("trace", "opentelemetry/proto/trace/v1/trace.proto"),
    ("logs", "opentelemetry/proto/logs/v1/logs.proto"),
    ("metrics", "opentelemetry/proto/metrics/v1/metrics.proto"),
    ("collector_trace", "opentelemetry/proto/collector/trace/v1/trace_service.proto"),
    ("collector_logs", "opentelemetry/proto/collector/logs/v1/logs_service.proto"),
    ("collector_metrics", "opentelemetry/proto/collector/metrics/v1/metrics_service.proto"),
];

/// What pipelines count.
const RECORDS: &[&str] = &[
    "Span",
    "LogRecord",
    "NumberDataPoint",
    "HistogramDataPoint",
    "ExponentialHistogramDataPoint",
    "SummaryDataPoint",
];

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = root.join("../../proto");
    let set = protox::compile(FILES.iter().map(|(_, file)| file), [&proto]).unwrap();
    for (module, name) in FILES {
        let file = set.file.iter().find(|f| f.name() == *name).unwrap();
        let path: PathBuf = root.join(format!("src/otlp/{module}.rs"));
        let want = format_source(&source(file));
        if env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&path, want).unwrap();
        } else {
            let have = fs::read_to_string(&path).unwrap_or_default();
            assert!(have == want, "{} has drifted from proto/: run with UPDATE_GENERATED=1", path.display());
        }
    }
}

fn source(file: &FileDescriptorProto) -> String {
    let mut out = format!(
        "//! Generated from `proto/{}` by `tests/generated.rs`; do not edit.\n\n\
         #![allow(clippy::wildcard_imports, unused_imports, reason = \"generated: not every file needs every import\")]\n\n\
         use super::*;\n\
         use crate::descriptor::{{self, FieldDescriptor, Kind, MessageDescriptor}};\n\
         use crate::view::{{Message, Messages, Scalar, View, Zigzag}};\n\
         use crate::wire::Wire;\n",
        file.name()
    );
    for declared in &file.enum_type {
        enumeration(&mut out, "", declared);
    }
    for message in &file.message_type {
        message_type(&mut out, "", message);
    }
    out
}

/// `Span` + `Event` -> `SpanEvent`.
fn rust_name(full: &str) -> String {
    let after_package = full.rsplit_once(".v1.").map_or(full, |(_, name)| name);
    after_package.replace('.', "")
}

fn static_name(full: &str) -> String {
    let mut out = String::new();
    for c in rust_name(full).chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn enumeration(out: &mut String, parent: &str, declared: &EnumDescriptorProto) {
    let name = format!("{parent}{}", declared.name());
    let values: String =
        declared.value.iter().map(|v| format!("({}, {:?}), ", v.number(), v.name())).collect();
    write!(
        out,
        "\n/// The table of `{name}`.\npub static {}: descriptor::EnumDescriptor = \
         descriptor::EnumDescriptor {{ name: {name:?}, values: &[{values}] }};\n",
        static_name(&name)
    )
    .unwrap();
}

fn message_type(out: &mut String, parent: &str, message: &DescriptorProto) {
    let dotted = format!("{parent}{}", message.name());
    let name = rust_name(&dotted);
    for declared in &message.enum_type {
        enumeration(out, &format!("{dotted}."), declared);
    }
    let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
    fields.sort_by_key(|f| f.number());
    table(out, &dotted, &fields);
    view(out, &dotted, &name, &fields);
    for nested in &message.nested_type {
        message_type(out, &format!("{dotted}."), nested);
    }
}

fn table(out: &mut String, dotted: &str, fields: &[&FieldDescriptorProto]) {
    let upper = static_name(dotted);
    let record = RECORDS.contains(&dotted);
    writeln!(out, "\nstatic {upper}_FIELDS: &[FieldDescriptor] = &[").unwrap();
    let mut slots: Vec<Option<i32>> = Vec::new();
    for field in fields {
        let repeated = field.label() == Label::Repeated;
        let slot = if repeated {
            0
        } else {
            let known = field.oneof_index.and_then(|o| slots.iter().position(|s| *s == Some(o)));
            let position = known.unwrap_or_else(|| {
                slots.push(field.oneof_index);
                slots.len() - 1
            });
            1u32 << position
        };
        writeln!(
            out,
            "FieldDescriptor {{ number: {}, name: {:?}, json_name: {:?}, kind: {}, repeated: {repeated}, oneof: {:?}, slot: {slot} }},",
            field.number(),
            field.name(),
            field.json_name(),
            kind(field),
            field.oneof_index,
        )
        .unwrap();
    }
    write!(
        out,
        "];\n\n/// The table of `{dotted}`.\npub static {upper}: MessageDescriptor = MessageDescriptor {{\
         name: {dotted:?}, fields: {upper}_FIELDS, index: descriptor::index({upper}_FIELDS), by_tag: descriptor::by_tag({upper}_FIELDS), record: {record} }};\n"
    )
    .unwrap();
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message => format!("Kind::Message(&{})", static_name(field.type_name())),
        Type::Enum => format!("Kind::Enum(&{})", static_name(field.type_name())),
        other => format!("Kind::{}", camel(other.as_str_name().trim_start_matches("TYPE_"))),
    }
}

fn camel(upper: &str) -> String {
    upper[..1].to_owned() + &upper[1..].to_lowercase()
}

fn view(out: &mut String, dotted: &str, name: &str, fields: &[&FieldDescriptorProto]) {
    write!(
        out,
        "\n/// A `{dotted}` in a checked request.\n#[derive(Clone, Copy, Debug)]\npub struct {name}<'a>(View<'a>);\n\n\
         impl<'a> Message<'a> for {name}<'a> {{ fn from_view(view: View<'a>) -> Self {{ Self(view) }} }}\n\n\
         impl<'a> {name}<'a> {{\n\
         /// The message whose bytes are all of `buf`.\npub fn of(buf: &'a [u8]) -> Self {{ Self(View::root(buf)) }}\n\n\
         /// Where it stands and its fields.\npub fn view(&self) -> View<'a> {{ self.0 }}\n"
    )
    .unwrap();
    for field in fields {
        getter(out, field);
    }
    out.push_str("}\n");
}

fn getter(out: &mut String, field: &FieldDescriptorProto) {
    let number = field.number();
    let optional = field.oneof_index.is_some();
    let (ty, body) = match (field.r#type(), field.label() == Label::Repeated) {
        (Type::Message, true) => (
            format!("Messages<'a, {}<'a>>", rust_name(field.type_name())),
            format!("self.0.messages({number})"),
        ),
        (Type::Message, false) => {
            (format!("Option<{}<'a>>", rust_name(field.type_name())), format!("self.0.message({number})"))
        }
        (Type::String, true) => {
            ("impl Iterator<Item = &'a str> + use<'a>".into(), format!("self.0.strings({number})"))
        }
        (Type::String, false) => text("&'a str", "string", number, optional),
        (Type::Bytes, false) => text("&'a [u8]", "bytes", number, optional),
        (Type::Bytes, true) => unreachable!("no repeated bytes in OTLP"),
        (kind, repeated) => scalar(kind, number, repeated, optional),
    };
    let name = if field.name() == "type" { "r#type" } else { field.name() };
    write!(out, "\n/// Field {number}, `{}`.\npub fn {name}(&self) -> {ty} {{ {body} }}\n", field.name())
        .unwrap();
}

fn text(ty: &str, getter: &str, number: i32, optional: bool) -> (String, String) {
    if optional {
        (format!("Option<{ty}>"), format!("self.0.{getter}({number})"))
    } else {
        (ty.into(), format!("self.0.{getter}({number}).unwrap_or_default()"))
    }
}

fn scalar(kind: Type, number: i32, repeated: bool, optional: bool) -> (String, String) {
    let (ty, wire, zigzag) = match kind {
        Type::Double => ("f64", "Fixed64", false),
        Type::Float => ("f32", "Fixed32", false),
        Type::Int64 => ("i64", "Varint", false),
        Type::Uint64 => ("u64", "Varint", false),
        Type::Int32 | Type::Enum => ("i32", "Varint", false),
        Type::Uint32 => ("u32", "Varint", false),
        Type::Fixed64 => ("u64", "Fixed64", false),
        Type::Sfixed64 => ("i64", "Fixed64", false),
        Type::Fixed32 => ("u32", "Fixed32", false),
        Type::Sfixed32 => ("i32", "Fixed32", false),
        Type::Bool => ("bool", "Varint", false),
        Type::Sint32 => ("i32", "Varint", true),
        Type::Sint64 => ("i64", "Varint", true),
        _ => unreachable!("not a scalar: {kind:?}"),
    };
    let convert =
        if zigzag { format!("|b| Zigzag::<{ty}>::from_bits(b).0") } else { format!("{ty}::from_bits") };
    match (repeated, optional) {
        (true, _) => (
            format!("impl Iterator<Item = {ty}> + use<'a>"),
            format!("self.0.scalars({number}, Wire::{wire}).map({convert})"),
        ),
        (false, true) => (format!("Option<{ty}>"), format!("self.0.scalar({number}).map({convert})")),
        (false, false) => (ty.into(), format!("self.0.scalar({number}).map({convert}).unwrap_or_default()")),
    }
}

/// Formats as `cargo fmt` would, so that the check for formatting holds for generated files too.
fn format_source(source: &str) -> String {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is part of every toolchain: rustup component add rustfmt");
    rustfmt.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = rustfmt.wait_with_output().unwrap();
    assert!(output.status.success(), "rustfmt failed");
    String::from_utf8(output.stdout).unwrap()
}
