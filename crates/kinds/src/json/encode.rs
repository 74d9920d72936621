//! Encodes a tree to JSON, in the order of its type and with Go's escapes.

use super::members::MemberScanner;
use crate::Tree;
use crate::facts::{Field, Shape, Type};
use crate::tree::{List, Map, Number};

/// Encodes an object of type `ty`: compact, without a newline at the end.
#[must_use]
pub fn encode(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    let mut writer = JsonWriter::new(None);
    drop(writer.value(tree, &Shape::Object(ty)));
    writer.out
}

/// An object and the bytes that [`encode`] made of it, possibly in an older version of this crate.
/// Decoding the bytes gives the tree.
#[derive(Clone, Copy, Debug)]
pub struct EncodedTree<'a> {
    /// The object.
    pub tree: &'a Tree,
    /// Its encoding.
    pub bytes: &'a [u8],
}

/// Encodes an object as [`encode`] does, and returns the tree that decoding the bytes gives. It
/// differs from `tree` where encoding omits an empty member or adds one that is always written;
/// everything else is shared with `tree`. `None` if only decoding can show it: a floating-point
/// number may decode to an integer.
///
/// What the object shares with `earlier` is copied from its bytes and not encoded again. Most
/// writes change a small part of an object.
#[must_use]
pub fn encode_and_reread(
    tree: &Tree,
    ty: &'static Type,
    earlier: Option<EncodedTree<'_>>,
) -> (Vec<u8>, Option<Tree>) {
    let mut writer = JsonWriter {
        is_rereading: true,
        ..JsonWriter::new(None)
    };
    let shape = Shape::Object(ty);
    let reread = match tree {
        Tree::Object(members) => {
            writer.object(Some(members), ty, earlier.and_then(EarlierObject::of))
        }
        _ => writer.value(tree, &shape),
    };
    let reread = writer
        .is_reread_known
        .then(|| reread.unwrap_or_else(|| tree.clone()));
    (writer.out, reread)
}

/// Encodes an object of type `ty`, indented with two spaces for each level.
#[must_use]
pub fn encode_pretty(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    let mut writer = JsonWriter::new(Some(0));
    drop(writer.value(tree, &Shape::Object(ty)));
    writer.out
}

/// Encodes any tree: compact, members sorted by name.
#[must_use]
pub fn encode_untyped(tree: &Tree) -> Vec<u8> {
    let mut writer = JsonWriter::new(None);
    writer.any(tree);
    writer.out
}

/// Encodes any tree: members sorted by name, indented with two spaces for each level.
#[must_use]
pub fn encode_untyped_pretty(tree: &Tree) -> Vec<u8> {
    let mut writer = JsonWriter::new(Some(0));
    writer.any(tree);
    writer.out
}

/// Initial capacity: enough for a typical pod.
const ROOM: usize = 4096;

struct JsonWriter<'t> {
    out: Vec<u8>,
    /// Stack of the members of the objects being written, the innermost last, each with the index
    /// of its field. One stack for all objects saves an allocation for each of them.
    found: Vec<(usize, &'t Tree)>,
    /// Level of indentation; `None` for compact output.
    level: Option<usize>,
    /// True if the caller asked for the decoded tree, see [`encode_and_reread`].
    is_rereading: bool,
    /// False once a floating-point number has been encoded.
    is_reread_known: bool,
}

/// An earlier state of the object being written.
struct EarlierObject<'e> {
    members: &'e Map,
    scanner: MemberScanner<'e>,
    /// How many more levels of objects are compared member by member. Most bytes are in the first
    /// two levels; deeper comparison costs more than it saves.
    levels: u8,
}

/// What an earlier state offers for a member.
enum EarlierMember<'e> {
    /// The member was the same, in these bytes.
    Same(&'e [u8]),
    /// The member was another object, whose members may be the same.
    Other(EarlierObject<'e>),
    /// Nothing to copy.
    Unknown,
}

impl<'e> EarlierObject<'e> {
    fn of(written: EncodedTree<'e>) -> Option<Self> {
        Some(Self {
            members: written.tree.as_object()?,
            scanner: MemberScanner::of(written.bytes),
            levels: 1,
        })
    }

    fn member(&mut self, name: &str, shape: &Shape, now: &Tree) -> EarlierMember<'e> {
        // Encoding a scalar is cheaper than finding its bytes.
        let Some(before @ (Tree::Array(_) | Tree::Object(_))) = self.members.get(name) else {
            return EarlierMember::Unknown;
        };
        if now.is_shared_with(before) {
            return self
                .scanner
                .find(name)
                .map_or(EarlierMember::Unknown, EarlierMember::Same);
        }
        match (shape, before) {
            (Shape::Object(_), Tree::Object(members)) if self.levels > 0 => {
                let other = |bytes| {
                    EarlierMember::Other(Self {
                        members,
                        scanner: MemberScanner::of(bytes),
                        levels: self.levels - 1,
                    })
                };
                self.scanner
                    .find(name)
                    .map_or(EarlierMember::Unknown, other)
            }
            _ => EarlierMember::Unknown,
        }
    }
}

/// The members of an object as decoding gives them. `changed` stays empty while they equal the
/// written ones.
struct Reread<'t> {
    members: Option<&'t Map>,
    is_asked: bool,
    changed: Option<Map>,
}

impl<'t> Reread<'t> {
    fn of(members: Option<&'t Map>, is_asked: bool) -> Self {
        Self {
            members,
            is_asked,
            changed: None,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Map)) {
        if self.is_asked {
            change(
                self.changed
                    .get_or_insert_with(|| self.members.cloned().unwrap_or_default()),
            );
        }
    }

    fn set(&mut self, name: &str, value: Tree) {
        self.change(|members| {
            members.insert(name, value);
        });
    }

    fn remove(&mut self, name: &str) {
        self.change(|members| {
            members.remove(name);
        });
    }
}

impl<'t> JsonWriter<'t> {
    fn new(level: Option<usize>) -> Self {
        Self {
            out: Vec::with_capacity(ROOM),
            found: Vec::new(),
            level,
            is_rereading: false,
            is_reread_known: true,
        }
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.level = self.level.map(|level| level + 1);
    }

    /// Closes a bracket. `empty`: nothing was written since it was opened.
    fn close(&mut self, bracket: u8, empty: bool) {
        self.level = self.level.map(|level| level - 1);
        if !empty {
            self.new_line();
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self) {
        if let Some(level) = self.level {
            self.out.push(b'\n');
            self.out.extend(std::iter::repeat_n(b' ', level * 2));
        }
    }

    fn separate(&mut self, first: &mut bool) {
        if !*first {
            self.out.push(b',');
        }
        *first = false;
        self.new_line();
    }

    fn key(&mut self, key: &str, first: &mut bool) {
        self.separate(first);
        self.string(key);
        self.out.push(b':');
        if self.level.is_some() {
            self.out.push(b' ');
        }
    }

    /// Writes a value. Returns what decoding gives, if the caller asked for it and it differs.
    fn value(&mut self, tree: &'t Tree, shape: &Shape) -> Option<Tree> {
        match (shape, tree) {
            (
                Shape::Object(ty)
                | Shape::ObjectOrBool(ty)
                | Shape::ObjectOrList(ty)
                | Shape::ObjectOrStrings(ty),
                Tree::Object(members),
            ) => self.object(Some(members), ty, None),
            (Shape::List(inner), Tree::Array(items)) => self.list(items, inner),
            (Shape::ObjectOrList(ty), Tree::Array(items)) => self.list(items, &Shape::Object(ty)),
            (Shape::Map(inner), Tree::Object(members)) => self.map(members, inner),
            _ => {
                self.any(tree);
                None
            }
        }
    }

    fn object(
        &mut self,
        members: Option<&'t Map>,
        ty: &'static Type,
        mut earlier: Option<EarlierObject<'_>>,
    ) -> Option<Tree> {
        // Objects have few of the many fields of their types. So each member is looked up in the
        // type, and not each field in the object.
        let start = self.found.len();
        let mut is_known = true;
        for (name, member) in members.into_iter().flatten() {
            match ty.field_at(name) {
                Some((index, _)) => self.found.push((index, member)),
                None => is_known = false,
            }
        }
        // Trees are sorted by name, JSON by the order of the type.
        self.found[start..].sort_unstable_by_key(|(index, _)| *index);
        let mut reread = Reread::of(members, self.is_rereading);
        let mut first = true;
        self.open(b'{');
        // Merges two sorted sequences: the present members, and the fields that are always written.
        let (mut next, mut always) = (start, ty.always());
        loop {
            let member = self.found.get(next).copied();
            match always.split_first() {
                Some((&absent, rest)) if member.is_none_or(|(index, _)| absent < index) => {
                    let field = &ty.fields[absent];
                    self.key(field.name, &mut first);
                    reread.set(field.name, self.absent(field));
                    always = rest;
                }
                _ => {
                    let Some((index, member)) = member else { break };
                    let field = &ty.fields[index];
                    next += 1;
                    // A present member is not written again as one that is always written.
                    always = always.strip_prefix(&[index]).unwrap_or(always);
                    if !left_out(member, field) {
                        self.key(field.name, &mut first);
                        let before = earlier.as_mut().map_or(EarlierMember::Unknown, |earlier| {
                            earlier.member(field.name, &field.shape, member)
                        });
                        if let Some(changed) = self.member(member, &field.shape, before) {
                            reread.set(field.name, changed);
                        }
                    } else if field.always {
                        self.key(field.name, &mut first);
                        let written = self.absent(field);
                        if written != *member {
                            reread.set(field.name, written);
                        }
                    } else {
                        reread.remove(field.name);
                    }
                }
            }
        }
        self.found.truncate(start);
        // Members that the type does not know come last: custom objects share types with built-in
        // ones and have members of their own.
        if !is_known {
            for (name, member) in members
                .into_iter()
                .flatten()
                .filter(|(name, _)| ty.field(name).is_none())
            {
                self.key(name, &mut first);
                self.any(member);
            }
        }
        self.close(b'}', first);
        reread.changed.map(Tree::Object)
    }

    fn member(
        &mut self,
        member: &'t Tree,
        shape: &Shape,
        before: EarlierMember<'_>,
    ) -> Option<Tree> {
        match (before, shape, member) {
            (EarlierMember::Same(bytes), ..) => {
                self.out.extend_from_slice(bytes);
                None
            }
            (EarlierMember::Other(earlier), Shape::Object(ty), Tree::Object(members)) => {
                self.object(Some(members), ty, Some(earlier))
            }
            _ => self.value(member, shape),
        }
    }

    fn list(&mut self, items: &'t List, inner: &Shape) -> Option<Tree> {
        let mut reread: Option<List> = None;
        let mut first = true;
        self.open(b'[');
        for (at, item) in items.iter().enumerate() {
            self.separate(&mut first);
            if let Some(changed) = self.value(item, inner) {
                reread.get_or_insert_with(|| items.clone())[at] = changed;
            }
        }
        self.close(b']', first);
        reread.map(Tree::Array)
    }

    fn map(&mut self, members: &'t Map, inner: &Shape) -> Option<Tree> {
        let mut reread = Reread::of(Some(members), self.is_rereading);
        let mut first = true;
        self.open(b'{');
        for (name, member) in members {
            self.key(name, &mut first);
            if let Some(changed) = self.value(member, inner) {
                reread.set(name, changed);
            }
        }
        self.close(b'}', first);
        reread.changed.map(Tree::Object)
    }

    /// Writes the value of a member that is absent but always written. Returns how it decodes.
    fn absent(&mut self, field: &Field) -> Tree {
        let (text, read) = match &field.shape {
            // A nil pointer in Go.
            _ if field.optional => ("null", Tree::Null),
            Shape::String => ("\"\"", "".into()),
            Shape::Bool => ("false", false.into()),
            Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => ("0", 0.into()),
            Shape::Quantity => ("\"0\"", "0".into()),
            Shape::Duration => ("\"0s\"", "0s".into()),
            Shape::Object(ty) => {
                return self
                    .object(None, ty, None)
                    .unwrap_or_else(|| Map::new().into());
            }
            _ => ("null", Tree::Null),
        };
        self.push(text);
        read
    }

    fn any(&mut self, tree: &'t Tree) {
        match tree {
            Tree::Null => self.push("null"),
            Tree::Bool(true) => self.push("true"),
            Tree::Bool(false) => self.push("false"),
            Tree::Number(number) => self.number(number),
            Tree::String(text) => self.string(text),
            Tree::Array(items) => drop(self.list(items, &Shape::Any)),
            Tree::Object(members) => drop(self.map(members, &Shape::Any)),
        }
    }

    fn number(&mut self, number: &Number) {
        // A float without a fraction is written, and decoded, as an integer.
        self.is_reread_known &= !number.is_f64();
        self.push(&number_text(number));
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| IS_SPECIAL[usize::from(byte)]) {
            let (plain, special) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            let taken = self.special(special);
            rest = &special[taken..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    /// Writes the special character at the start of `bytes`. Returns how many bytes it took.
    fn special(&mut self, bytes: &[u8]) -> usize {
        match *bytes {
            // Go escapes U+2028 and U+2029, which JavaScript takes for line ends.
            [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => {
                self.push(if last == 0xa8 { "\\u2028" } else { "\\u2029" });
                3
            }
            // Other characters that start with the same byte need no escape.
            [0xe2, ..] => {
                self.out.push(0xe2);
                1
            }
            [byte, ..] => {
                match short_escape(byte) {
                    Some(character) => self.out.extend_from_slice(&[b'\\', character]),
                    None => self.out.extend_from_slice(&unicode_escape(byte)),
                }
                1
            }
            [] => 0,
        }
    }
}

/// Bytes that a JSON string cannot hold unescaped, and the first byte of such characters.
static IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'&' as usize] = true;
    special[0xe2] = true;
    special
};

/// Formats a number as Go does: a float without a fraction looks like an integer.
pub(super) fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e21 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

fn short_escape(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        8 => b'b',
        12 => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return None,
    })
}

fn unicode_escape(byte: u8) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        b'\\',
        b'u',
        b'0',
        b'0',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Returns whether encoding omits a member: it is empty, and the field omits empty values.
fn left_out(tree: &Tree, field: &Field) -> bool {
    if tree.is_null() {
        return true;
    }
    if field.always {
        return false;
    }
    match (tree, &field.shape) {
        (Tree::Array(items), Shape::List(_)) => items.is_empty(),
        (Tree::Object(members), Shape::Map(_)) => members.is_empty(),
        _ if field.optional => false,
        (Tree::String(text), _) => text.is_empty(),
        (Tree::Bool(value), Shape::Bool) => !value,
        (Tree::Number(number), Shape::Int32 | Shape::Int64 | Shape::Float64) => {
            number.as_f64() == Some(0.0)
        }
        _ => false,
    }
}
