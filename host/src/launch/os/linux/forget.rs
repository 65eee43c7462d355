//! Giving back the memory that a forked child shares with its parent and will never read.
//!
//! Without this each page that the host changes later would be copied first, to keep the old one for a
//! watchdog that does not want it.
#![allow(unsafe_code)]

use libc::{c_int, c_void};

/// Smaller areas are kept: they hold what the dynamic loader and the C library need, and cost little.
const WORTHWHILE: usize = 1 << 20;

/// One line of `/proc/self/maps`, `start-end rwxp offset device inode path`, as far as it has been read.
#[derive(Default)]
struct Area {
    start: usize,
    end: usize,
    field: Field,
    writable: bool,
    private: bool,
    has_file: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Field {
    #[default]
    Start,
    End,
    Permissions,
    Offset,
    Device,
    Inode,
    Path,
}

impl Area {
    fn take(&mut self, byte: u8) {
        match (self.field, byte) {
            (Field::Start, b'-') => self.field = Field::End,
            (Field::End, b' ') => self.field = Field::Permissions,
            (Field::Permissions, b' ') => self.field = Field::Offset,
            (Field::Offset, b' ') => self.field = Field::Device,
            (Field::Device, b' ') => self.field = Field::Inode,
            (Field::Inode, b' ') => self.field = Field::Path,
            (Field::Start, digit) => self.start = self.start << 4 | hex(digit),
            (Field::End, digit) => self.end = self.end << 4 | hex(digit),
            (Field::Permissions, b'w') => self.writable = true,
            (Field::Permissions, b'p') => self.private = true,
            (Field::Inode, digit) => self.has_file |= digit != b'0',
            _ => {}
        }
    }

    /// Whether it is plain memory, large, and holds none of `needed`.
    fn is_forgettable(&self, needed: [usize; 2]) -> bool {
        let holds = |address: usize| (self.start..self.end).contains(&address);
        let size = self.end.saturating_sub(self.start);
        self.writable
            && self.private
            && !self.has_file
            && size >= WORTHWHILE
            && !needed.into_iter().any(holds)
    }
}

fn hex(digit: u8) -> usize {
    match digit {
        b'0'..=b'9' => usize::from(digit - b'0'),
        b'a'..=b'f' => usize::from(digit - b'a') + 10,
        _ => 0,
    }
}

/// Empties all large anonymous memory but the stack and the thread-local data of this thread.
///
/// # Safety
///
/// Only in a forked child that from here on uses nothing but its stack: the heap reads as zeroes afterwards.
pub(super) unsafe fn forget_memory() {
    // SAFETY: system calls only. What is emptied holds neither this frame, nor `errno` and the rest of the
    // thread's data beside it; code and its tables are mapped from files or are small.
    unsafe {
        let maps: c_int = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let mut buffer = [0_u8; 4096];
        let needed = [buffer.as_ptr().addr(), libc::__errno_location().addr()];
        let mut area = Area::default();
        loop {
            let read = libc::read(maps, buffer.as_mut_ptr().cast::<c_void>(), buffer.len());
            let Ok(read @ 1..) = usize::try_from(read) else { break };
            for byte in buffer.iter().take(read) {
                if *byte != b'\n' {
                    area.take(*byte);
                    continue;
                }
                if area.is_forgettable(needed) {
                    let start = std::ptr::with_exposed_provenance_mut::<c_void>(area.start);
                    libc::madvise(start, area.end - area.start, libc::MADV_DONTNEED);
                }
                area = Area::default();
            }
        }
        libc::close(maps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(line: &str) -> Area {
        let mut area = Area::default();
        line.bytes().for_each(|byte| area.take(byte));
        area
    }

    #[test]
    fn only_large_private_memory_without_a_file_is_forgotten() {
        let heap = area("55d0c000000-55d0c200000 rw-p 00000000 00:00 0                  [heap]");
        assert_eq!((heap.start, heap.end), (0x55d_0c00_0000, 0x55d_0c20_0000));
        assert!(heap.is_forgettable([0, 1]));
        assert!(!heap.is_forgettable([0x55d_0c00_0010, 1]));
        for kept in [
            "7f0000000000-7f0000001000 rw-p 00000000 00:00 0",
            "7f0000000000-7f0000200000 r--p 00000000 00:00 0",
            "7f0000000000-7f0000200000 rw-s 00000000 00:00 0",
            "7f0000000000-7f0000200000 rw-p 00001000 fe:00 4711 /lib/libc.so.6",
        ] {
            assert!(!area(kept).is_forgettable([0, 1]), "{kept}");
        }
    }
}
