//! Patches in their three languages. The laws: a patch is refused or gives a tree that can be
//! written and read; a merge patch that was applied changes nothing the second time.

use kinds::json as codec;
use kinds::{Tree, patch as language};

use crate::typed;

/// The document and the patch, with a byte of zero between them.
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
    // Telling what nobody knows must not fail, whatever the patch is.
    let _ = (language::unknown_members(&patch), language::shown(&patch));
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
    // What a patch puts together may be deeper than what one body may be; that is refused in words.
    match codec::decode_untyped(&written) {
        Ok(again) => assert_eq!(codec::encode_untyped(&again.tree), written),
        Err(error) => assert!(
            error.to_string().contains("max depth"),
            "{error}: {}",
            String::from_utf8_lossy(&written)
        ),
    }
}
