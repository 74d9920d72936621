//! The encodings of stored objects that this server has made, shared by GET, LIST and WATCH and by
//! all who ask: messages of protobuf, cells of tables, frames of watches.
//!
//! JSON is not here, for stored objects are JSON, and neither are YAML and indented JSON, which are
//! for people. What a write is answered with comes from the same shelf as its watch event.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use bytes::Bytes;
use kinds::encodings::CachedEncoding;
use kinds::facts::Type;
use registry::ResourceRef;

use crate::encode;
use crate::negotiate::Media;

/// The most that encodings of objects take, with the objects that they were made from: the protobuf
/// of 50,000 pods of three kilobytes, an eighth of the memory that is meant for 150,000 of them.
const OBJECT_BYTES: usize = 256 * 1024 * 1024;
/// The most that frames of watches take. All watches of a collection are woken for the same
/// commit, so that a frame is asked for within moments or not again.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Encodings {
    objects: kinds::encodings::EncodingCache<Form>,
    frames: kinds::encodings::EncodingCache<Frame>,
}

/// What is made of an object. Types are static: their addresses identify them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// Its message.
    Message(usize),
    /// The message of its bare metadata.
    Metadata,
    /// Its cells in the table of a resource.
    Cells(ResourceRef),
}

/// Which frame is made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    /// For example `ADDED`.
    pub(crate) kind: &'static str,
    /// A line of JSON or a frame of protobuf.
    pub(crate) media: Media,
    /// Bare metadata instead of the object, and whether in `v1beta1`.
    pub(crate) metadata: Option<bool>,
}

impl Default for Encodings {
    fn default() -> Self {
        Self {
            objects: kinds::encodings::EncodingCache::holding(OBJECT_BYTES),
            frames: kinds::encodings::EncodingCache::holding(FRAME_BYTES),
        }
    }
}

impl Encodings {
    /// The message of an object of this type.
    pub(crate) fn message(&self, json: &Bytes, ty: &'static Type) -> Bytes {
        let form = Form::Message(std::ptr::from_ref(ty).addr());
        self.objects.get(json, form, || encode::message(json, ty))
    }

    /// The message of an object's bare metadata.
    pub(crate) fn metadata(&self, json: &Bytes) -> Bytes {
        self.objects
            .get(json, Form::Metadata, || encode::metadata_message(json))
    }

    /// The cells of an object's row; `now` in seconds since 1970.
    pub(crate) fn cells(
        &self,
        json: &Bytes,
        resource: &ResourceRef,
        now: i64,
        make: impl FnOnce() -> CachedEncoding,
    ) -> Bytes {
        self.objects
            .get_until(json, Form::Cells(resource.clone()), now, make)
    }

    /// The frame of an event that shows this object.
    pub(crate) fn frame(
        &self,
        json: &Bytes,
        frame: Frame,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        self.frames.get(json, frame, make)
    }

    /// How many encodings of objects and frames of watches were made.
    #[cfg(test)]
    pub(crate) fn made(&self) -> (u64, u64) {
        (self.objects.made(), self.frames.made())
    }

    /// Adds its figures to `/metrics`.
    pub(crate) fn metrics(&self, out: &mut String) {
        let (objects, frames) = (&self.objects, &self.frames);
        let figures = [
            (
                "made_total",
                "counter",
                "Encodings that were made",
                objects.made(),
                frames.made(),
            ),
            (
                "shared_total",
                "counter",
                "Encodings that were there already when they were asked for",
                objects.shared(),
                frames.shared(),
            ),
            (
                "bytes",
                "gauge",
                "Bytes of kept encodings and of what they were made from",
                objects.bytes() as u64,
                frames.bytes() as u64,
            ),
        ];
        for (name, kind, help, objects, frames) in figures {
            let name = format!("exeunt_encodings_{name}");
            let written = write!(
                out,
                "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{{of=\"object\"}} {objects}\n{name}{{of=\"frame\"}} {frames}\n"
            );
            written.expect("writing into text cannot fail");
        }
    }
}
