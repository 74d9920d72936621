//! Protobuf: the form in which Go clients talk to the API, driven by the table of facts.
//!
//! A body is the four bytes `k8s\0` and a message that names kind and version and holds the
//! object's own message. As upstream does it, scalars that are not behind a pointer are written
//! even when they are zero, and so are structures; read back, such a zero is an absent member.
//!
//! Data flow: `wire` (bytes to numbers and ranges) → `decode` → [`Tree`] → `encode` → bytes. What
//! needs framing (envelopes, lists, watch events) is here. Strict readers find nothing in
//! protobuf: fields without a number cannot be told from newer ones.

mod decode;
mod encode;
mod wire;

use crate::Tree;
use crate::facts::Type;
use crate::json::{DecodeError, DecodedTree, TypeMeta};
use crate::status::ListMeta;
pub use wire::MessageWriter;
use wire::{MessageReader, WireValue};

/// What every body begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// A body taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it says that it is; empty when it does not say.
    pub type_meta: TypeMeta,
    /// The object's own message.
    pub raw: &'a [u8],
}

/// The body of one object of type `ty`; kind and version are those of the tree.
#[must_use]
pub fn encode(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    let text = |name: &str| {
        tree.get(name)
            .and_then(Tree::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    seal(
        &TypeMeta {
            api_version: text("apiVersion"),
            kind: text("kind"),
        },
        &encode_message(tree, ty),
    )
}

/// The object's own message, without an envelope.
#[must_use]
pub fn encode_message(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    encode::message(tree, ty)
}

/// Reads the body of one object of type `ty`. Kind and version of the envelope become members.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<DecodedTree, DecodeError> {
    let envelope = open(bytes)?;
    let mut tree = decode_message(envelope.raw, ty)?;
    for (name, value) in [
        ("kind", envelope.type_meta.kind),
        ("apiVersion", envelope.type_meta.api_version),
    ] {
        if !value.is_empty() {
            tree[name] = Tree::from(value);
        }
    }
    Ok(DecodedTree {
        tree,
        warnings: Vec::new(),
    })
}

/// Reads an object's own message.
pub fn decode_message(bytes: &[u8], ty: &'static Type) -> Result<Tree, DecodeError> {
    decode::message(bytes, ty)
}

/// What the object in a body says that it is.
pub fn peek_type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    open(bytes).map(|envelope| envelope.type_meta)
}

/// Puts a message into an envelope.
#[must_use]
pub fn seal(type_meta: &TypeMeta, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope(type_meta);
    out.bytes(2, raw);
    let mut out = out.into_bytes();
    out.extend_from_slice(&TAIL);
    out
}

/// The beginning of a body, up to the message.
fn envelope(type_meta: &TypeMeta) -> MessageWriter {
    let mut inner = MessageWriter::default();
    inner.text(1, &type_meta.api_version);
    inner.text(2, &type_meta.kind);
    let mut out = MessageWriter::from(MAGIC.to_vec());
    out.bytes(1, &inner.into_bytes());
    out
}

/// Takes a body apart.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(message) = bytes.strip_prefix(&MAGIC) else {
        return Err(DecodeError::Syntax(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned(),
        ));
    };
    let mut envelope = Envelope {
        type_meta: TypeMeta::default(),
        raw: &[],
    };
    let mut reader = MessageReader::new(message);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, WireValue::Bytes(inner)) => envelope.type_meta = type_meta(inner)?,
            (2, WireValue::Bytes(inner)) => envelope.raw = inner,
            _ => {}
        }
    }
    Ok(envelope)
}

fn type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    let mut found = TypeMeta::default();
    let mut reader = MessageReader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, WireValue::Bytes(text)) => {
                found.api_version = String::from_utf8_lossy(text).into_owned()
            }
            (2, WireValue::Bytes(text)) => found.kind = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Ok(found)
}

/// What a list's body begins with; `lengths` are those of the items' own messages. Each item then
/// stands behind its [`item_head`], and [`TAIL`] ends the body: items are encoded once and
/// joined while they are sent.
pub fn list_head(
    type_meta: &TypeMeta,
    metadata: &ListMeta,
    lengths: impl IntoIterator<Item = usize>,
) -> Vec<u8> {
    let mut inner = MessageWriter::default();
    // Self links are gone and still written, empty.
    inner.text(1, "");
    inner.text(2, &metadata.resource_version);
    inner.text(3, &metadata.continue_token);
    if let Some(left) = metadata.remaining_item_count {
        inner.varint(4, left.cast_unsigned());
    }
    let mut message = MessageWriter::default();
    message.bytes(1, &inner.into_bytes());
    let message = message.into_bytes();
    let items: usize = lengths
        .into_iter()
        .map(|length| item_head(length).len() + length)
        .sum();
    let mut out = envelope(type_meta);
    out.head(2, message.len() + items);
    let mut out = out.into_bytes();
    out.extend_from_slice(&message);
    out
}

/// What stands before an item of a list.
#[must_use]
pub fn item_head(length: usize) -> Vec<u8> {
    let mut head = MessageWriter::default();
    head.head(2, length);
    head.into_bytes()
}

/// What every body ends with: content encoding and content type, which are always written and
/// always empty.
pub const TAIL: [u8; 4] = [3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// One frame of a watch: the length in four bytes, the biggest first, then the event, whose object
/// is a whole body.
#[must_use]
pub fn watch_frame(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut object = MessageWriter::default();
    object.bytes(1, body);
    let mut event = MessageWriter::default();
    event.text(1, kind);
    event.bytes(2, &object.into_bytes());
    let event = event.into_bytes();
    let length = u32::try_from(event.len()).expect("an object is far smaller than 4 GiB");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&event);
    frame
}
