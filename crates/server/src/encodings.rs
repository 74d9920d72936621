//! Encodings of stored objects, shared by all requests of a server: protobuf messages, table cells
//! and watch frames.
//!
//! JSON is not cached here, because objects are stored as JSON. YAML and indented JSON are not
//! cached either, because people ask for them, not programs. The response to a write and its watch
//! event share one encoding.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use kinds::encodings::CachedEncoding;
use kinds::facts::Type;
use registry::ResourceRef;

use crate::encode;
use crate::negotiate::MediaType;

/// Limit of the bytes of cached watch frames. A commit wakes all watches of a collection, so each
/// frame is needed again within moments or never.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// A bounded cache of encodings. Concurrent requests for one encoding make it once.
#[derive(Debug)]
pub(crate) struct Encodings {
    objects: kinds::encodings::EncodingCache<EncodingKey>,
    frames: kinds::encodings::EncodingCache<FrameKey>,
}

/// Key of an encoding of an object. Addresses identify types and resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum EncodingKey {
    /// The protobuf message of a type.
    Message(usize),
    /// The protobuf message of the metadata alone.
    Metadata,
    /// The cells of a resource's table.
    Cells(ResourceRef),
}

/// Key of a frame that is made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FrameKey {
    /// Type of the event, for example `ADDED`.
    pub(crate) kind: &'static str,
    /// Media type of the stream: lines of JSON or frames of protobuf.
    pub(crate) media: MediaType,
    /// `Some` for metadata alone instead of the object; true for `v1beta1`.
    pub(crate) metadata: Option<bool>,
}

#[cfg(test)]
impl Default for Encodings {
    fn default() -> Self {
        Self::with_limit(256 * 1024 * 1024)
    }
}

impl Encodings {
    /// Creates a cache whose encodings of objects take at most so many bytes, including the objects
    /// that they were made from.
    pub(crate) fn with_limit(object_bytes: usize) -> Self {
        Self {
            objects: kinds::encodings::EncodingCache::with_limit(object_bytes),
            frames: kinds::encodings::EncodingCache::with_limit(FRAME_BYTES),
        }
    }

    /// Returns the protobuf message of an object of type `ty`.
    pub(crate) fn message(&self, json: &Bytes, ty: &'static Type) -> Bytes {
        let form = EncodingKey::Message(std::ptr::from_ref(ty).addr());
        self.objects.get(json, form, || encode::message(json, ty))
    }

    /// Returns the protobuf message of the metadata of an object.
    pub(crate) fn metadata(&self, json: &Bytes) -> Bytes {
        self.objects.get(json, EncodingKey::Metadata, || {
            encode::metadata_message(json)
        })
    }

    /// Returns the cells of an object's row, which show ages at `now` (seconds since 1970).
    pub(crate) fn cells(
        &self,
        json: &Bytes,
        resource: &ResourceRef,
        now: i64,
        make: impl FnOnce() -> CachedEncoding,
    ) -> Bytes {
        self.objects
            .get_until(json, EncodingKey::Cells(resource.clone()), now, make)
    }

    /// Returns the frame of an event about an object.
    pub(crate) fn frame(
        &self,
        json: &Bytes,
        frame: FrameKey,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        self.frames.get(json, frame, make)
    }

    /// Returns the number of encodings of objects and of frames that were made.
    #[cfg(test)]
    pub(crate) fn made(&self) -> (u64, u64) {
        (self.objects.made(), self.frames.made())
    }

    /// Returns how both kinds of encodings were used, each with its name in metrics.
    pub(crate) fn usage(&self) -> [(&'static str, EncodingsUse); 2] {
        let (objects, frames) = (&self.objects, &self.frames);
        let objects = EncodingsUse {
            made: objects.made(),
            shared: objects.shared(),
            bytes: objects.bytes(),
        };
        let frames = EncodingsUse {
            made: frames.made(),
            shared: frames.shared(),
            bytes: frames.bytes(),
        };
        [("object", objects), ("frame", frames)]
    }
}

/// How one kind of encodings was used since the server started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodingsUse {
    /// Encodings that were made.
    pub(crate) made: u64,
    /// Requests for an encoding that existed.
    pub(crate) shared: u64,
    /// Bytes of kept encodings and of the objects that they were made from.
    pub(crate) bytes: usize,
}
