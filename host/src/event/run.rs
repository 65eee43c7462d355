//! Events side by side, as they travel in frames and lie in the journal.

use std::ops::Range;

use bytes::Bytes;

/// What precedes the length of each event: field 1 of a message, with a length.
const TAG: u8 = 0x0a;

/// Bytes of a length: the longest that a 32-bit one needs.
const MAX_LENGTH_BYTES: usize = 5;

/// Encoded events with their tags and lengths, one after the other. There is at least one.
///
/// All of them were checked when they came in: a run can be cut between two events by reading lengths alone. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    bytes: Bytes,
    count: usize,
    /// Bytes of the events alone, which is what credit counts.
    content: usize,
    /// Place of the first in the journal, if they are in it.
    first_place: Option<u64>,
}

impl Run {
    /// So many events that were checked, of so many bytes without their tags and lengths. `None`: there are none.
    pub(super) fn new(bytes: Bytes, count: usize, content: usize) -> Option<Self> {
        (count > 0).then_some(Self { bytes, count, content, first_place: None })
    }

    /// Counts the events, without looking into any. `None`: there are none, or something else is among them.
    #[cfg(test)]
    pub(super) fn scan(bytes: Bytes) -> Option<Self> {
        let (mut at, mut count, mut content) = (0, 0, 0);
        while at < bytes.len() {
            let event = event_at(&bytes, at)?;
            (at, count, content) = (event.end, count + 1, content + event.len());
        }
        Self::new(bytes, count, content)
    }

    /// They have been recorded from this place on.
    pub(super) fn at(self, first_place: u64) -> Self {
        Self { first_place: Some(first_place), ..self }
    }

    /// Place of the first in the journal, if they are in it.
    pub(super) fn first_place(&self) -> Option<u64> {
        self.first_place
    }

    /// Bytes of the events alone.
    pub(super) fn content(&self) -> usize {
        self.content
    }

    /// The events with their tags and lengths.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many events; at least one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Its first events: as many as this and as there are within so many bytes, but at least one. What is left, if any, comes second.
    pub(super) fn split(mut self, most: usize, most_bytes: usize) -> (Self, Option<Self>) {
        if self.count <= most && self.bytes.len() <= most_bytes {
            return (self, None);
        }
        let (mut count, mut end, mut content) = (0, 0, 0);
        for event in events(&self.bytes).take(most.max(1)) {
            if count > 0 && event.end > most_bytes {
                break;
            }
            (count, end, content) = (count + 1, event.end, content + event.len());
        }
        if count >= self.count {
            return (self, None);
        }
        let first_place = self.first_place;
        let first = Self { bytes: self.bytes.split_to(end), count, content, first_place };
        self.first_place = self.first_place.map(|place| place + count as u64);
        self.count -= count;
        self.content -= content;
        (first, Some(self))
    }

    /// The events, without their tags and lengths.
    pub(super) fn events(&self) -> impl Iterator<Item = Bytes> {
        events(&self.bytes).map(|event| self.bytes.slice(event))
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
pub(super) fn events(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
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
    use bytes::BytesMut;
    use proptest::prelude::*;
    use prost::encoding::encode_varint;

    use super::*;

    pub(in super::super) fn run(events: &[Vec<u8>]) -> Run {
        let mut bytes = BytesMut::new();
        for event in events {
            bytes.extend_from_slice(&[0x0a]);
            encode_varint(event.len() as u64, &mut bytes);
            bytes.extend_from_slice(event);
        }
        Run::new(bytes.freeze(), events.len(), events.iter().map(Vec::len).sum()).unwrap()
    }

    #[test]
    fn there_is_no_run_of_nothing() {
        assert_eq!(Run::new(Bytes::new(), 0, 0), None);
    }

    #[test]
    fn at_least_one_event_is_taken() {
        let (first, rest) = run(&[vec![7; 300], vec![8; 300]]).split(0, 0);
        assert_eq!((first.count(), rest.unwrap().count()), (1, 1));
    }

    #[test]
    fn what_is_no_run_is_not_taken_for_one() {
        let whole = run(&[b"a".to_vec(), Vec::new(), vec![7; 300]]);
        assert_eq!(Run::scan(whole.bytes.clone()), Some(whole.clone()));
        assert_eq!(Run::scan(Bytes::new()), None);
        assert_eq!(Run::scan(whole.bytes.slice(..whole.bytes.len() - 1)), None, "cut off");
        assert_eq!(Run::scan(Bytes::from_static(&[TAG, 0, 0x12, 0])), None, "another field");
        let endless = Bytes::from_static(&[TAG, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(Run::scan(endless), None);
    }

    #[test]
    fn a_part_keeps_to_its_bounds() {
        let bytes = run(&["one", "two", "three", "four"].map(|event| event.as_bytes().to_vec())).bytes;
        let taken = |skip, most_events, most, one| {
            let (part, count) = part(&bytes, skip, most_events, most, one);
            assert_eq!(events(&part).count(), count as usize);
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

    proptest! {
        #[test]
        fn a_run_is_cut_between_events(
            events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20),
            most in 1usize..25,
            most_bytes in 0usize..5000,
        ) {
            let whole = run(&events);
            let (first, rest) = whole.split(most, most_bytes);
            prop_assert!(first.count() <= most);
            prop_assert!(first.count() == 1 || first.bytes().len() <= most_bytes);
            let rest: Vec<_> = rest.iter().flat_map(Run::events).collect();
            let found: Vec<_> = first.events().chain(rest.iter().cloned()).collect();
            prop_assert_eq!(first.events().count(), first.count());
            prop_assert_eq!(first.events().map(|event| event.len()).sum::<usize>(), first.content());
            prop_assert_eq!(found.iter().map(|event| event.to_vec()).collect::<Vec<_>>(), events);
            // No fewer than were allowed.
            if let Some(next) = rest.first() {
                let one_more = first.bytes().len() + run(&[next.to_vec()]).bytes().len();
                prop_assert!(first.count() == most || one_more > most_bytes);
            }
        }
    }
}
