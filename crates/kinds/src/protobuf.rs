//! Protobuf, the encoding that Go clients prefer, directed by the table of facts.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` message, the envelope: it names kind
//! and version and holds the object's message. As in upstream, structures and scalars that are not
//! pointers in Go are written even if they are zero; decoding turns such a zero into an absent
//! member.
//!
//! Data flow: `wire` (bytes to field numbers and ranges) → `decode` → [`Tree`] → `encode` → bytes.
//! This module frames messages: envelopes, lists, watch events. Strict field validation finds
//! nothing in protobuf, because an unknown field may be one of a newer version.

mod decode;
mod encode;
mod wire;

use crate::Tree;
use crate::facts::Type;
use crate::json::{DecodeError, DecodedTree, TypeMeta};
use crate::status::ListMeta;
pub use wire::MessageWriter;
use wire::{MessageReader, WireValue};

/// The first bytes of every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The envelope of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Kind and version; empty if the envelope does not name them.
    pub type_meta: TypeMeta,
    /// The message of the object.
    pub raw: &'a [u8],
}

/// Encodes an object of type `ty` with its envelope. Kind and version are those of the tree.
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

/// Encodes the message of an object, without an envelope.
#[must_use]
pub fn encode_message(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    encode::message(tree, ty)
}

/// Decodes the body of an object of type `ty`. Kind and version of the envelope become members.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
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

/// Decodes the message of an object.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn decode_message(bytes: &[u8], ty: &'static Type) -> Result<Tree, DecodeError> {
    decode::message(bytes, ty)
}

/// Reads kind and version of the object in a body.
///
/// # Errors
/// [`DecodeError`] if the body has no envelope.
pub fn peek_type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    open(bytes).map(|envelope| envelope.type_meta)
}

/// Puts the message of an object into an envelope.
#[must_use]
pub fn seal(type_meta: &TypeMeta, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope(type_meta);
    out.bytes(2, raw);
    let mut out = out.into_bytes();
    out.extend_from_slice(&TAIL);
    out
}

/// Starts a body, up to the message.
fn envelope(type_meta: &TypeMeta) -> MessageWriter {
    let mut inner = MessageWriter::default();
    inner.text(1, &type_meta.api_version);
    inner.text(2, &type_meta.kind);
    let mut out = MessageWriter::from(MAGIC.to_vec());
    out.bytes(1, &inner.into_bytes());
    out
}

/// Parses the envelope of a body.
///
/// # Errors
/// [`DecodeError`] if the bytes are not an envelope.
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

/// Returns the start of a list's body; `lengths` are those of the items' messages. Each item then
/// follows its [`item_head`], and [`TAIL`] ends the body. So items are encoded once, cached, and
/// joined while they are sent.
pub fn list_head(
    type_meta: &TypeMeta,
    metadata: &ListMeta,
    lengths: impl IntoIterator<Item = usize>,
) -> Vec<u8> {
    let mut inner = MessageWriter::default();
    // `selfLink` is obsolete, and Go's encoder still writes it, empty.
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

/// Returns the bytes before an item of a list.
#[must_use]
pub fn item_head(length: usize) -> Vec<u8> {
    let mut head = MessageWriter::default();
    head.head(2, length);
    head.into_bytes()
}

/// The last bytes of every body: content encoding and content type, which are always present and
/// empty.
pub const TAIL: [u8; 4] = [3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// Encodes a frame of a watch: the length in four bytes, big-endian, then the event, whose object
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
