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

/// Joins the head, the items and the tail of a list.
pub(crate) fn whole((head, open, items): (Bytes, &'static str, Vec<Bytes>)) -> Bytes {
    let mut out = BytesMut::from(&head[..]);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        out.put_slice(open.as_bytes());
        out.put_slice(item);
    }
    out.put_slice(b"]}");
    out.freeze()
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

fn put_metadata_only(out: &mut BytesMut, object: &[u8], beta: bool) {
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

/// Encodes the metadata of each item of a list.
pub(crate) fn metadata_list(list: &ObjectList, beta: bool) -> Bytes {
    let mut out = BytesMut::from(&list_head(METADATA_LIST, meta_version(beta), &list.metadata)[..]);
    for (at, item) in list.items.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        put_metadata_only(&mut out, item, beta);
    }
    out.put_slice(b"]}");
    out.freeze()
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

/// Encodes a list as protobuf, from the messages of its items.
pub(crate) fn protobuf_list(
    kind: &str,
    api_version: &str,
    metadata: &ListMeta,
    items: Vec<Bytes>,
) -> Body {
    let type_meta = TypeMeta {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    let head = kinds::protobuf::list_head(&type_meta, metadata, items.iter().map(Bytes::len));
    Body::joined(
        head.into(),
        Separator::Length,
        items,
        &kinds::protobuf::TAIL,
    )
}

fn tree(object: &[u8]) -> kinds::Tree {
    serde_json::from_slice(object).expect("answers are valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

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
