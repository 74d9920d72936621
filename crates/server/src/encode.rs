//! Encodes stored JSON for responses: lists, bare metadata, YAML and protobuf. Knows no HTTP.

use bytes::{BufMut, Bytes, BytesMut};
use kinds::facts::Type;
use kinds::json::TypeMeta;
use kinds::status::{ListMeta, Status};

use crate::body::{Body, Separator};
use crate::json;

/// A list, before it is encoded.
pub(crate) struct ObjectList {
    /// Kind of the list, for example `PodList`.
    pub(crate) kind: String,
    /// `apiVersion` of the list.
    pub(crate) api_version: String,
    /// Metadata of the list.
    pub(crate) metadata: ListMeta,
    /// JSON of each item.
    pub(crate) items: Vec<Bytes>,
}

/// Encodes a `Status` as compact JSON.
pub(crate) fn status_json(status: &Status) -> Bytes {
    json::escape(serde_json::to_vec(status).expect("a Status has only text and numbers")).into()
}

/// Kind of metadata alone.
const METADATA: &str = "PartialObjectMetadata";
/// Kind of a list of metadata alone.
pub(crate) const METADATA_LIST: &str = "PartialObjectMetadataList";

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

fn meta_type(name: &str) -> Option<&'static Type> {
    kinds::type_named(&format!("{META}{name}"))
}

pub(crate) fn status_type() -> Option<&'static Type> {
    meta_type("Status")
}

pub(crate) fn metadata_type() -> Option<&'static Type> {
    meta_type("PartialObjectMetadata")
}

/// Encodes the head of a list: `{"kind":…,"apiVersion":…,"metadata":…,"items":[`
pub(crate) fn list_head(kind: &str, api_version: &str, metadata: &ListMeta) -> Bytes {
    let mut head = BytesMut::with_capacity(160).writer();
    let written = write_head(&mut head, kind, api_version, metadata);
    written.expect("writing into memory cannot fail");
    head.into_inner().freeze()
}

fn write_head(
    head: &mut impl std::io::Write,
    kind: &str,
    api_version: &str,
    metadata: &ListMeta,
) -> std::io::Result<()> {
    write!(
        head,
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":"#
    )?;
    serde_json::to_writer(&mut *head, metadata)?;
    head.write_all(br#","items":["#)
}

pub(crate) fn meta_version(beta: bool) -> &'static str {
    if beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    }
}

/// Encodes the metadata of an object alone, as `PartialObjectMetadata`.
pub(crate) fn metadata_only(object: &[u8], beta: bool) -> Bytes {
    let mut out = BytesMut::new();
    put_metadata_only(&mut out, object, beta);
    out.freeze()
}

/// Appends the metadata of an object alone.
pub(crate) fn put_metadata_only(out: &mut impl BufMut, object: &[u8], beta: bool) {
    let metadata = json::member(object, "metadata").unwrap_or(b"{}");
    out.put_slice(br#"{"kind":""#);
    out.put_slice(METADATA.as_bytes());
    out.put_slice(br#"","apiVersion":""#);
    out.put_slice(meta_version(beta).as_bytes());
    out.put_slice(br#"","metadata":"#);
    match own_metadata(object, metadata) {
        Some(own) => out.put_slice(&own),
        None => out.put_slice(metadata),
    }
    out.put_u8(b'}');
}

/// An annotation that holds a field of older versions. Upstream shows it in objects, but not in
/// bare metadata.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Returns the metadata of a DaemonSet without [`TEMPLATE_GENERATION`]; `None` if nothing needs to
/// be removed.
fn own_metadata(object: &[u8], metadata: &[u8]) -> Option<Vec<u8>> {
    if json::text_member(object, "kind") != Some("DaemonSet") {
        return None;
    }
    // Only this kind needs a decoded tree. All others are cut out of their text.
    let mut own = tree(metadata);
    let annotations = own.get_mut("annotations")?.as_object_mut()?;
    annotations.remove(TEMPLATE_GENERATION)?;
    if annotations.is_empty() {
        own.as_object_mut()?.remove("annotations");
    }
    Some(kinds::json::encode(&own, meta_type("ObjectMeta")?))
}

/// Returns the list metadata of a table with a single object: its resource version.
pub(crate) fn list_meta_of(object: &[u8]) -> ListMeta {
    let metadata = json::member(object, "metadata").unwrap_or_default();
    ListMeta {
        resource_version: json::text_member(metadata, "resourceVersion")
            .unwrap_or_default()
            .to_owned(),
        ..ListMeta::default()
    }
}

/// Encodes an object as YAML with sorted keys.
pub(crate) fn yaml(object: &[u8]) -> Bytes {
    kinds::yaml::from_json(object)
        .expect("answers are valid JSON")
        .into()
}

/// Encodes an object of type `ty` as a protobuf message.
pub(crate) fn message(object: &[u8], ty: &'static Type) -> Vec<u8> {
    kinds::protobuf::encode_message(&tree(object), ty)
}

/// Encodes the metadata of an object as a protobuf message.
pub(crate) fn metadata_message(object: &[u8]) -> Vec<u8> {
    message(
        &metadata_only(object, false),
        metadata_type().expect("the table has it"),
    )
}

/// Puts a message into the envelope of Kubernetes' protobuf, with the kind and version of the
/// object.
pub(crate) fn sealed(object: &[u8], message: &[u8]) -> Vec<u8> {
    let text = |name: &str| {
        json::text_member(object, name)
            .unwrap_or_default()
            .to_owned()
    };
    kinds::protobuf::seal(
        &TypeMeta {
            api_version: text("apiVersion"),
            kind: text("kind"),
        },
        message,
    )
}

/// Puts the message of bare metadata into its envelope.
pub(crate) fn metadata_sealed(message: &[u8], beta: bool) -> Vec<u8> {
    kinds::protobuf::seal(
        &TypeMeta {
            api_version: meta_version(beta).to_owned(),
            kind: METADATA.to_owned(),
        },
        message,
    )
}

/// Encodes an object as protobuf, in its envelope.
pub(crate) fn protobuf(object: &[u8], ty: Option<&'static Type>) -> Vec<u8> {
    let ty = ty.expect("only what has a type is negotiated as protobuf");
    sealed(object, &message(object, ty))
}

/// Encodes a list as protobuf, from the messages that `message` makes of its items. Messages of a
/// long list are made twice: the first time for their lengths, which precede them all.
pub(crate) fn protobuf_list(
    kind: &str,
    api_version: &str,
    metadata: &ListMeta,
    items: Vec<Bytes>,
    message: impl Fn(&Bytes) -> Bytes + Send + 'static,
) -> Body {
    let type_meta = TypeMeta {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    if items.iter().map(Bytes::len).sum::<usize>() > KEPT_MESSAGES_BYTES {
        let lengths = items.iter().map(|item| message(item).len());
        let head = kinds::protobuf::list_head(&type_meta, metadata, lengths);
        let render = move |item: &Bytes, chunk: &mut Vec<u8>, _first: bool| {
            let message = message(item);
            chunk.extend_from_slice(&kinds::protobuf::item_head(message.len()));
            chunk.extend_from_slice(&message);
        };
        let tail = Bytes::from_static(&kinds::protobuf::TAIL);
        return Body::rendered(head.into(), items, Box::new(render), tail);
    }
    let items: Vec<Bytes> = items.iter().map(message).collect();
    let head = kinds::protobuf::list_head(&type_meta, metadata, items.iter().map(Bytes::len));
    Body::joined(
        head.into(),
        Separator::Length,
        items,
        &kinds::protobuf::TAIL,
    )
}

/// Objects with more bytes than this are encoded as protobuf while they are sent.
const KEPT_MESSAGES_BYTES: usize = 16 * 1024 * 1024;

/// Appends the compact JSON of an item.
pub(crate) type ItemJson = Box<dyn Fn(&Bytes, &mut Vec<u8>) + Send>;

/// A list whose items are rendered as JSON while they are sent.
pub(crate) struct JsonList {
    /// Compact JSON up to the bracket that opens the list of items, for example
    /// `{"kind":…,"items":[`.
    pub(crate) head: Bytes,
    /// The name of the member with the items.
    pub(crate) member: &'static str,
    /// The items.
    pub(crate) items: Vec<Bytes>,
    /// Appends the compact JSON of an item.
    pub(crate) item: ItemJson,
}

impl JsonList {
    /// Returns the list as compact JSON with a newline.
    pub(crate) fn compact(self) -> Body {
        let item = self.item;
        let render = move |found: &Bytes, chunk: &mut Vec<u8>, first: bool| {
            if !first {
                chunk.push(b',');
            }
            item(found, chunk);
        };
        Body::rendered(self.head, self.items, Box::new(render), &b"]}\n"[..])
    }

    /// Returns the list as indented JSON.
    pub(crate) fn indented(self) -> Body {
        if self.items.is_empty() {
            return Body::whole(json::indent(&[&self.head[..], b"]}"].concat()));
        }
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let depth = json::indent_part(&self.head, 0, &mut head);
        json::indent_part(b"]}", depth, &mut tail);
        let (item, mut compact) = (self.item, Vec::new());
        let render = move |found: &Bytes, chunk: &mut Vec<u8>, first: bool| {
            if !first {
                json::indent_part(b",", depth, chunk);
            }
            compact.clear();
            item(found, &mut compact);
            json::indent_part(&compact, depth, chunk);
        };
        Body::rendered(head.into(), self.items, Box::new(render), tail)
    }

    /// Returns the list as YAML, whose members are sorted: some follow the items.
    pub(crate) fn yaml(self) -> Body {
        let whole = [&self.head[..], b"]}"].concat();
        if self.items.is_empty() {
            return Body::whole(yaml(&whole));
        }
        let kinds::Tree::Object(mut members) = tree(&whole) else {
            return Body::whole(yaml(&whole));
        };
        members.remove(self.member);
        let (before, after): (Vec<_>, Vec<_>) = members
            .into_iter()
            .partition(|(name, _)| name.as_str() < self.member);
        let written = |members: Vec<_>| {
            if members.is_empty() {
                return String::new();
            }
            kinds::yaml::encode_untyped(&kinds::Tree::Object(members.into_iter().collect()))
        };
        let head = format!("{}{}:\n", written(before), self.member);
        let (item, mut list) = (self.item, Vec::new());
        // An item of a list on its own has the same text as one of a member's list.
        let render = move |found: &Bytes, chunk: &mut Vec<u8>, _first: bool| {
            list.clear();
            list.push(b'[');
            item(found, &mut list);
            list.push(b']');
            chunk.extend_from_slice(&yaml(&list));
        };
        Body::rendered(head.into(), self.items, Box::new(render), written(after))
    }
}

fn tree(object: &[u8]) -> kinds::Tree {
    serde_json::from_slice(object).expect("answers are valid JSON")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Returns a list of so many items that it is sent in chunks, with members around the items.
    fn list(items: usize, member: &'static str) -> JsonList {
        let head = format!(
            r#"{{"kind":"PodList","apiVersion":"v1","columns":[{{"name":"a"}}],"metadata":{{"resourceVersion":"7"}},"{member}":["#
        );
        let item = |at: usize| {
            format!(
                r#"{{"kind":"Pod","n":{at},"text":"{}","e":[],"o":{{}}}}"#,
                "x".repeat(300)
            )
        };
        JsonList {
            head: head.into(),
            member,
            items: (0..items).map(|at| item(at).into()).collect(),
            item: Box::new(|item, out| out.extend_from_slice(item)),
        }
    }

    async fn sent(body: Body) -> (usize, String) {
        let mut frames = 0;
        let mut body = body;
        let mut out = Vec::new();
        while let Some(frame) = body.frame().await {
            frames += 1;
            out.extend_from_slice(&frame.expect("cannot fail").into_data().expect("data"));
        }
        (frames, String::from_utf8(out).expect("text"))
    }

    #[tokio::test]
    async fn lists_in_chunks_have_the_bytes_of_a_whole_one() {
        for member in ["items", "rows"] {
            for items in [0, 1, 3, 1_000] {
                let (frames, compact) = sent(list(items, member).compact()).await;
                assert_eq!(frames > 1, items > 100, "{items} in {frames} chunks");
                let whole = compact.trim_end();
                let found: kinds::Tree = serde_json::from_str(whole).expect("JSON");
                assert_eq!(
                    found[member].as_array().map(|found| found.len()),
                    Some(items)
                );
                let (frames, indented) = sent(list(items, member).indented()).await;
                assert_eq!(frames > 1, items > 100);
                assert_eq!(indented.as_bytes(), json::indent(whole.as_bytes()));
                let (frames, written) = sent(list(items, member).yaml()).await;
                assert_eq!(frames > 1, items > 100);
                assert_eq!(written.as_bytes(), yaml(whole.as_bytes()));
            }
        }
    }

    #[tokio::test]
    async fn a_long_list_of_messages_has_the_bytes_of_a_short_one() {
        let body = |size: usize| {
            let items = vec![Bytes::from(vec![b'x'; size]); 20];
            let message = |item: &Bytes| item.slice(..10);
            protobuf_list("PodList", "v1", &ListMeta::default(), items, message)
        };
        let (long, short) = (body(1_000_000), body(1_000));
        let whole = |body: Body| async { body.collect().await.expect("cannot fail").to_bytes() };
        assert_eq!(whole(long).await, whole(short).await);
    }

    #[test]
    fn bare_metadata_of_a_daemon_set_hides_the_generation_of_its_template() {
        let shown = |kind: &str, annotations: &str| {
            let object = format!(
                r#"{{"kind":"{kind}","metadata":{{"name":"a","annotations":{{{annotations}}}}}}}"#
            );
            let bare = tree(&metadata_only(object.as_bytes(), false));
            bare["metadata"]["annotations"].to_string()
        };
        let generation = r#""deprecated.daemonset.template.generation":"2""#;
        assert_eq!(shown("DaemonSet", generation), "null");
        assert_eq!(
            shown("DaemonSet", &format!(r#""a":"b",{generation}"#)),
            r#"{"a":"b"}"#
        );
        assert_eq!(shown("Pod", generation), format!("{{{generation}}}"));
    }
}
