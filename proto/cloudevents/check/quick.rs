//! Events as nearly everybody writes them: the fields in their order, once each, short and of ASCII.
//!
//! Looking at such a one takes a fifth of the time. It finds nothing wrong: it gives up, and all of it is looked at in the usual way.

use super::super::PARTITION_KEY;
use super::{DataKind, Parts, SPEC_VERSION, Span, check_attribute, field};

/// Wire type of what has a length.
const BYTES: u32 = 2;

const fn tag(number: u32) -> u8 {
    (number << 3 | BYTES) as u8
}

/// `spec_version`, as it is encoded.
const VERSION: [u8; 5] = {
    let [major, point, minor] = *b"1.0";
    [tag(field::SPEC_VERSION), 3, major, point, minor]
};
const _: () = assert!(SPEC_VERSION.len() == 3);

/// Where the parts of an event are. `None`: it is not as usual. `CHECKS`: looks at its texts, too.
#[inline]
pub(in super::super) fn look<const CHECKS: bool>(event: &[u8]) -> Option<Parts> {
    let mut rest = Rest { event, at: 0 };
    let mut parts = Parts { id: rest.text::<CHECKS>(tag(field::ID))?, ..Parts::default() };
    parts.source = rest.text::<CHECKS>(tag(field::SOURCE))?;
    rest.version()?;
    parts.event_type = rest.text::<CHECKS>(tag(field::TYPE))?;
    const ATTRIBUTES: u8 = tag(field::ATTRIBUTES);
    while event.get(rest.at) == Some(&ATTRIBUTES) {
        let entry = rest.short(ATTRIBUTES)?;
        if !CHECKS && name(event.get(entry.range())?)? != PARTITION_KEY.as_bytes() {
            continue;
        }
        // What is wrong with it is found once more, in the usual way.
        if let Some(key) = check_attribute(event.get(entry.range())?).ok()? {
            let begin = entry.range().start;
            parts.partition_key = (begin + key.start..begin + key.end).into();
        }
    }
    const BINARY: u8 = tag(field::BINARY_DATA);
    const TEXT: u8 = tag(field::TEXT_DATA);
    (parts.data, parts.data_kind) = match event.get(rest.at) {
        None => return Some(parts),
        Some(&BINARY) => (rest.last()?, DataKind::Binary),
        Some(&TEXT) => {
            let text = rest.last()?;
            if CHECKS {
                std::str::from_utf8(event.get(text.range())?).ok()?;
            }
            (text, DataKind::Text)
        }
        Some(_) => return None,
    };
    Some(parts)
}

/// Name of an entry of `attributes`, which has nothing but a name and then a value.
#[inline]
fn name(entry: &[u8]) -> Option<&[u8]> {
    let mut rest = Rest { event: entry, at: 0 };
    let name = rest.short(tag(field::NAME))?;
    rest.short(tag(field::VALUE))?;
    (rest.at == entry.len()).then_some(entry.get(name.range())?)
}

/// What was not looked at yet.
struct Rest<'a> {
    event: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    /// A field with this tag and up to 127 bytes, of which there is one at least.
    #[inline]
    fn short(&mut self, tag: u8) -> Option<Span> {
        let [found, length] = *self.event.get(self.at..)?.first_chunk()?;
        let begin = self.at + 2;
        let end = begin + usize::from(length);
        let is_usual = found == tag && (1..0x80).contains(&length) && end <= self.event.len();
        is_usual.then(|| {
            self.at = end;
            (begin..end).into()
        })
    }

    /// The same, of ASCII.
    #[inline]
    fn text<const CHECKS: bool>(&mut self, tag: u8) -> Option<Span> {
        let text = self.short(tag)?;
        let is_usual = !CHECKS || self.event.get(text.range())?.is_ascii();
        is_usual.then_some(text)
    }

    #[inline]
    fn version(&mut self) -> Option<()> {
        let found = self.event.get(self.at..)?.first_chunk()?;
        (*found == VERSION).then(|| self.at += VERSION.len())
    }

    /// The last field, whatever its length.
    #[inline]
    fn last(&mut self) -> Option<Span> {
        let mut length = 0;
        let mut at = self.at + 1;
        for place in 0..4 {
            let byte = *self.event.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return (at + length == self.event.len()).then(|| (at..at + length).into());
            }
        }
        None
    }
}
