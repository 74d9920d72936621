//! The protobuf wire format: tags, varints, lengths. Reads are bounds-checked and do not allocate.

use crate::json::DecodeError;

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Four bytes; no field of the API has this type.
    Fixed32,
}

pub(super) struct MessageReader<'a> {
    rest: &'a [u8],
}

fn truncated() -> DecodeError {
    DecodeError::Syntax("unexpected EOF".to_owned())
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next field; `None` at the end of the message.
    ///
    /// # Errors
    /// [`DecodeError::Syntax`] if the message is truncated or malformed.
    pub(super) fn next(&mut self) -> Result<Option<(u32, WireValue<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(DecodeError::Syntax(format!(
                "proto: illegal tag {number} (wire type {})",
                tag & 7
            )));
        }
        let value = match tag & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(
                self.take(8)?.try_into().map_err(|_| truncated())?,
            )),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| truncated())?;
                WireValue::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                WireValue::Fixed32
            }
            other => {
                return Err(DecodeError::Syntax(format!(
                    "proto: illegal wireType {other}"
                )));
            }
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(truncated)?;
            self.rest = rest;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Syntax("proto: integer overflow".to_owned()))
    }
}

/// A writer of one message, field by field. Public for messages that are not in the table of facts.
#[derive(Debug, Default)]
pub struct MessageWriter {
    out: Vec<u8>,
}

impl From<Vec<u8>> for MessageWriter {
    fn from(out: Vec<u8>) -> Self {
        Self { out }
    }
}

impl MessageWriter {
    /// Returns the message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push((value & 0x7f) as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.raw_varint(u64::from(number) << 3 | wire_type);
    }

    /// Writes an integer, or a boolean as 0 or 1.
    pub fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.raw_varint(value);
    }

    /// Writes a floating-point number.
    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes bytes, or an inner message.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.head(number, value.len());
        self.out.extend_from_slice(value);
    }

    /// Writes the tag and length that precede so many bytes.
    pub(super) fn head(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        self.raw_varint(length as u64);
    }

    /// Writes a string.
    pub fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }
}
