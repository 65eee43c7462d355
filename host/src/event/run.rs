//! Events side by side, as they lie in a frame.

use bytes::Bytes;

/// Encoded events with their tags and lengths, one after the other. There is at least one.
///
/// All of them were checked when they came in: a run can be cut between two events by reading lengths alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    bytes: Bytes,
    count: usize,
    /// Bytes of the events alone, which is what credit counts.
    content: usize,
}

impl Run {
    /// So many events that were checked, of so many bytes without their tags and lengths. `None`: there are none.
    pub(super) fn new(bytes: Bytes, count: usize, content: usize) -> Option<Self> {
        (count > 0).then_some(Self { bytes, count, content })
    }

    /// Bytes of the events alone.
    pub(super) fn content(&self) -> usize {
        self.content
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Its first events: as many as this and as there are within so many bytes, but at least one. What is left, if any, comes second.
    pub(super) fn split(mut self, most: usize, most_bytes: usize) -> (Self, Option<Self>) {
        if self.count <= most && self.bytes.len() <= most_bytes {
            return (self, None);
        }
        let (mut count, mut end, mut content) = (0, 0, 0);
        while count < most.max(1) {
            let (length, head) = length(&self.bytes[end..]);
            let next = (end + head + length).min(self.bytes.len());
            if count > 0 && next > most_bytes {
                break;
            }
            (count, end, content) = (count + 1, next, content + length);
        }
        if count >= self.count {
            return (self, None);
        }
        let first = Self { bytes: self.bytes.split_to(end), count, content };
        self.count -= count;
        self.content -= content;
        (first, Some(self))
    }

    /// The events, without their tags and lengths.
    pub(super) fn events(&self) -> impl Iterator<Item = Bytes> {
        let mut left = self.bytes.clone();
        std::iter::from_fn(move || {
            if left.is_empty() {
                return None;
            }
            let (length, head) = length(&left);
            let whole = left.split_to((head + length).min(left.len()));
            Some(whole.slice(head..))
        })
    }
}

/// Length of the first event, and bytes of its tag and length. The tag is one byte.
fn length(run: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (place, byte) in run.iter().skip(1).take(10).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place).min(usize::BITS as usize - 7);
        if *byte < 0x80 {
            return (value, place + 2);
        }
    }
    // Not of a run that was checked.
    (0, run.len())
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
