//! JSON, YAML and protobuf. The properties: a decoded object decodes to the same object after
//! encoding, and encoding it a second time gives the same bytes.

use kinds::facts::Type;
use kinds::{Tree, json as codec};

use crate::typed;

/// Limit of the warnings for one document.
const WARNINGS: usize = 100;

/// Decodes JSON, typed and untyped.
pub fn json(input: &[u8]) {
    let Some((ty, text)) = typed(input) else {
        return;
    };
    let _ = codec::peek_type_meta(text);
    if let Ok(decoded) = codec::decode_untyped(text) {
        assert!(decoded.warnings.len() <= WARNINGS);
        let written = codec::encode_untyped(&decoded.tree);
        let again = codec::decode_untyped(&written)
            .expect("what was written is read")
            .tree;
        assert_eq!(codec::encode_untyped(&again), written);
        let mut tree = decoded.tree;
        if codec::normalize(&mut tree, ty).is_ok() {
            check_stable(&tree, ty);
        }
    }
    if let Ok(decoded) = codec::decode(text, ty) {
        assert!(decoded.warnings.len() <= WARNINGS);
        check_stable(&decoded.tree, ty);
    }
}

/// Checks that a decoded object encodes to JSON that decodes to the same object.
fn check_stable(tree: &Tree, ty: &'static Type) {
    let written = codec::encode(tree, ty);
    let again = codec::decode(&written, ty)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    // Stored objects are also read by other decoders than ours.
    assert!(
        serde_json::from_slice::<Tree>(&written).is_ok(),
        "{}",
        shown(&written)
    );
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
    assert_eq!(shown(&codec::encode(&again.tree, ty)), shown(&written));
    assert!(codec::equal(tree, &again.tree, ty), "{tree} {}", again.tree);
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Decodes YAML, typed and untyped.
pub fn yaml(input: &[u8]) {
    let Some((ty, text)) = typed(input) else {
        return;
    };
    if let Ok(decoded) = kinds::yaml::decode_untyped(text) {
        let written = kinds::yaml::encode_untyped(&decoded.tree);
        let again = kinds::yaml::decode_untyped(written.as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(
            shown(&codec::encode_untyped(&again.tree)),
            shown(&codec::encode_untyped(&decoded.tree)),
            "{written}"
        );
    }
    if let Ok(decoded) = kinds::yaml::decode(text, ty) {
        let written = kinds::yaml::encode(&decoded.tree, ty);
        let again = kinds::yaml::decode(written.as_bytes(), ty)
            .unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(
            shown(&codec::encode(&again.tree, ty)),
            shown(&codec::encode(&decoded.tree, ty)),
            "{written}"
        );
    }
}

/// Decodes protobuf: the input as a body with its envelope, and as the message of an object.
pub fn protobuf(input: &[u8]) {
    let Some((ty, bytes)) = typed(input) else {
        return;
    };
    let _ = kinds::protobuf::peek_type_meta(bytes);
    if let Ok(decoded) = kinds::protobuf::decode(bytes, ty) {
        let body = kinds::protobuf::encode(&decoded.tree, ty);
        let again = kinds::protobuf::decode(&body, ty)
            .expect("what was written is read")
            .tree;
        assert!(
            codec::equal(&decoded.tree, &again, ty),
            "{} {again}",
            decoded.tree
        );
    }
    if let Ok(tree) = kinds::protobuf::decode_message(bytes, ty) {
        let message = kinds::protobuf::encode_message(&tree, ty);
        let again =
            kinds::protobuf::decode_message(&message, ty).expect("what was written is read");
        assert_eq!(kinds::protobuf::encode_message(&again, ty), message);
        assert!(codec::equal(&tree, &again, ty), "{tree} {again}");
        // The server stores it as JSON.
        check_stable(&tree, ty);
    }
}
