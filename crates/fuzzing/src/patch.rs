//! The three patch languages. The properties: a patch is rejected or gives a tree that encodes and
//! decodes to itself; applying a merge patch a second time changes nothing.

use kinds::json as codec;
use kinds::{Tree, patch as language};

use crate::typed;

/// The input is a document and a patch, separated by a zero byte.
pub fn patch(input: &[u8]) {
    let Some((ty, rest)) = typed(input) else {
        return;
    };
    let mut parts = rest.splitn(2, |&byte| byte == 0);
    let (Some(document), Some(patch)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(document) = codec::decode_untyped(document) else {
        return;
    };
    let Ok(patch) = language::decode(patch) else {
        return;
    };
    let (document, patch) = (document.tree, patch.tree);
    // Formatting messages must not fail, whatever the patch is.
    let _ = (
        language::unknown_members(&patch),
        language::render_go(&patch),
    );
    if let Ok(merged) = language::merge(document.clone(), patch.clone()) {
        check_readable(&merged);
        let twice = language::merge(merged.clone(), patch.clone()).expect("it was applied before");
        assert_eq!(
            codec::encode_untyped(&twice),
            codec::encode_untyped(&merged)
        );
    }
    for patched in [
        language::json(document.clone(), patch.clone()),
        language::strategic(document, patch, ty),
    ] {
        let Ok(mut patched) = patched else { continue };
        check_readable(&patched);
        if codec::normalize(&mut patched, ty).is_ok() {
            let written = codec::encode(&patched, ty);
            codec::decode(&written, ty)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
        }
    }
}

fn check_readable(tree: &Tree) {
    let written = codec::encode_untyped(tree);
    // A patch can build a document that nests deeper than a body may. Decoding rejects it with an
    // error.
    match codec::decode_untyped(&written) {
        Ok(again) => assert_eq!(codec::encode_untyped(&again.tree), written),
        Err(error) => assert!(
            error.to_string().contains("max depth"),
            "{error}: {}",
            String::from_utf8_lossy(&written)
        ),
    }
}
