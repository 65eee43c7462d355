//! Cutting a byte stream into lines of bounded length.

use super::MAX_LINE_BYTES;

/// The unfinished line of a stream. Empty, it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Hands each finished line of `bytes`, without its end, to `take`; a line longer than
    /// [`MAX_LINE_BYTES`] in parts.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.partial.len();
            let within = bytes.get(..room).unwrap_or(bytes);
            let end = within.iter().position(|byte| *byte == b'\n');
            let (head, rest) = bytes.split_at(end.unwrap_or(within.len()));
            let is_whole = end.is_some() || head.len() == room;
            match (is_whole, self.partial.is_empty()) {
                (true, true) => take(without_return(head)),
                (true, false) => {
                    self.partial.extend_from_slice(head);
                    take(without_return(&self.partial));
                    self.partial = Vec::new();
                }
                (false, _) => self.partial.extend_from_slice(head),
            }
            bytes = rest.get(usize::from(end.is_some())..).unwrap_or_default();
        }
    }

    /// Hands over what the stream ended with, if that is no whole line.
    pub(super) fn finish(&mut self, take: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            take(&std::mem::take(&mut self.partial));
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        chunks.iter().for_each(|chunk| splitter.feed(chunk, &mut take));
        splitter.finish(&mut take);
        lines
    }

    #[test]
    fn lines_are_found_however_the_bytes_arrive() {
        for chunks in [&[&b"one\ntwo\r\n\nthree"[..]][..], &[b"o", b"ne\ntw", b"o\r\n", b"\nthr", b"ee"]] {
            assert_eq!(split(chunks), ["one", "two", "", "three"]);
        }
    }

    #[test]
    fn a_flood_without_a_newline_comes_in_bounded_parts() {
        let flood = vec![b'x'; 3 * MAX_LINE_BYTES + 5];
        let parts: Vec<_> = split(&[&flood[..7], &flood[7..]]).iter().map(String::len).collect();
        assert_eq!(parts, [MAX_LINE_BYTES, MAX_LINE_BYTES, MAX_LINE_BYTES, 5]);
    }

    #[test]
    fn a_quiet_stream_holds_no_memory() {
        let mut splitter = Splitter::default();
        splitter.feed(b"begin", |_| {});
        splitter.feed(b" and end\n", |_| {});
        assert_eq!(splitter.partial.capacity(), 0);
    }
}
