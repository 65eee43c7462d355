//! Events side by side, as they travel in frames and lie in the journal.

use std::ops::Range;

use bytes::Bytes;

/// What precedes the length of each event: field 1 of a message, with a length.
const TAG: u8 = 0x0a;

/// Bytes of a length: the longest that a 32-bit one needs.
const MAX_LENGTH_BYTES: usize = 5;

/// Some events, each with its tag and length, as `plugmesh::event::frame` reads and writes them.
///
/// Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    bytes: Bytes,
    count: u32,
}

/// Bytes are not the events that they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a run of events: byte {at} begins no event with its tag and length")]
pub(crate) struct InvalidRun {
    /// Where the first fault is.
    pub(crate) at: usize,
}

impl Run {
    /// Counts the events, without looking into any.
    ///
    /// # Errors
    /// There is none, or something else is among them.
    pub(crate) fn new(bytes: Bytes) -> Result<Self, InvalidRun> {
        let mut count = 0;
        let mut at = 0;
        while at < bytes.len() {
            at = event_at(&bytes, at).ok_or(InvalidRun { at })?.end;
            count += 1;
        }
        if count == 0 { Err(InvalidRun { at: 0 }) } else { Ok(Self { bytes, count }) }
    }

    /// The events with their tags and lengths.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many events; at least one.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// Where the event lies that begins with its tag at `at`, without tag and length.
fn event_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if *bytes.get(at)? != TAG {
        return None;
    }
    let mut length = 0_usize;
    for index in 0..MAX_LENGTH_BYTES {
        let byte = *bytes.get(at + 1 + index)?;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let start = at + 2 + index;
            let end = start.checked_add(length)?;
            return (end <= bytes.len()).then_some(start..end);
        }
    }
    None
}

/// The events of a run, first to last, without their tags and lengths. Ends early where the bytes are no run.
pub(crate) fn events(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let event = event_at(bytes, at)?;
        at = event.end;
        Some(event)
    })
}

/// Part of a run: without the first `skip` events, at most `most_events` and `most_bytes`, and how many these are.
/// One event is more than `most_bytes` if `one_at_least`.
pub(super) fn part(
    bytes: &Bytes,
    skip: u32,
    most_events: u32,
    most_bytes: usize,
    one_at_least: bool,
) -> (Bytes, u32) {
    let mut ends = events(bytes).map(|event| event.end);
    let start = match skip {
        0 => 0,
        skip => ends.nth(skip as usize - 1).unwrap_or(bytes.len()),
    };
    let (mut end, mut count) = (start, 0);
    for next in ends.take(most_events as usize) {
        if next - start > most_bytes && !(one_at_least && count == 0) {
            break;
        }
        end = next;
        count += 1;
    }
    (bytes.slice(start..end), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[&[u8]]) -> Bytes {
        let mut bytes = Vec::new();
        for event in events {
            bytes.push(TAG);
            prost::encoding::encode_varint(event.len() as u64, &mut bytes);
            bytes.extend_from_slice(event);
        }
        bytes.into()
    }

    #[test]
    fn counts_what_it_is_given() {
        let long = [7; 300];
        let bytes = run(&[b"a", b"", &long]);
        assert_eq!(Run::new(bytes.clone()).unwrap().count(), 3);
        assert_eq!(events(&bytes).map(|event| event.len()).collect::<Vec<_>>(), [1, 0, 300]);
        assert_eq!(Run::new(Bytes::new()), Err(InvalidRun { at: 0 }));
        assert_eq!(Run::new(bytes.slice(..bytes.len() - 1)), Err(InvalidRun { at: 5 }), "cut off");
        assert_eq!(
            Run::new(Bytes::from_static(&[TAG, 0, 0x12, 0])),
            Err(InvalidRun { at: 2 }),
            "another field"
        );
        let endless = Bytes::from_static(&[TAG, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(Run::new(endless), Err(InvalidRun { at: 0 }));
    }

    #[test]
    fn a_part_keeps_to_its_bounds() {
        let bytes = run(&[b"one", b"two", b"three", b"four"]);
        let taken = |skip, events, most, one| {
            let (part, count) = part(&bytes, skip, events, most, one);
            assert_eq!(super::events(&part).count(), count as usize);
            (count, part.len())
        };
        assert_eq!(taken(0, 9, 99, true), (4, 23));
        assert_eq!(taken(1, 2, 99, true), (2, 12));
        assert_eq!(taken(1, 9, 12, true), (2, 12));
        assert_eq!(taken(1, 9, 11, false), (1, 5));
        assert_eq!(taken(2, 9, 3, true), (1, 7), "one that is larger than the bound");
        assert_eq!(taken(2, 9, 3, false), (0, 0));
        assert_eq!(taken(9, 9, 99, true), (0, 0));
    }
}
