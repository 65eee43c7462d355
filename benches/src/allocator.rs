//! The allocator of a process, chosen by whoever starts it.
//!
//! A Rust program has one global allocator, fixed when it is built. Cells that differ only in the allocator must
//! not differ in anything else, so that this one hands on to either of two; both sides pay the same branch.

#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, Ordering};

use mimalloc::MiMalloc;
use serde::{Deserialize, Serialize};

/// Names the allocator of a process in its environment.
const VARIABLE: &str = "PLUGMESH_BENCH_ALLOCATOR";

/// An allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allocator {
    /// That of the C library, which a program has unless it says otherwise.
    #[default]
    System,
    /// mimalloc, which the `plugmesh` executable uses.
    Mimalloc,
}

impl Allocator {
    fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Mimalloc => "mimalloc",
        }
    }
}

/// The variable that makes a process use `allocator`, with its value.
pub fn variable(allocator: Allocator) -> (&'static str, &'static str) {
    (VARIABLE, allocator.as_str())
}

const UNDECIDED: u8 = 0;
const SYSTEM: u8 = 1;
const MIMALLOC: u8 = 2;

#[derive(Debug)]
struct Switch(AtomicU8);

#[global_allocator]
static SWITCH: Switch = Switch(AtomicU8::new(UNDECIDED));

impl Switch {
    fn is_mimalloc(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            UNDECIDED => self.decide(),
            decided => decided == MIMALLOC,
        }
    }

    /// The first allocation comes before `main`, when there is one thread and nothing changes the environment.
    #[cold]
    fn decide(&self) -> bool {
        // SAFETY: the name is a C string; the value is read at once, while no other thread exists.
        let mimalloc = unsafe {
            let value = libc::getenv(c"PLUGMESH_BENCH_ALLOCATOR".as_ptr());
            !value.is_null() && libc::strcmp(value, c"mimalloc".as_ptr()) == 0
        };
        self.0.store(if mimalloc { MIMALLOC } else { SYSTEM }, Ordering::Relaxed);
        mimalloc
    }
}

// SAFETY: every call is handed on unchanged, and always to the same allocator, since the choice never changes.
unsafe impl GlobalAlloc for Switch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { if self.is_mimalloc() { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer comes from the same allocator.
        unsafe {
            if self.is_mimalloc() {
                MiMalloc.dealloc(pointer, layout)
            } else {
                System.dealloc(pointer, layout)
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe {
            if self.is_mimalloc() { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe {
            if self.is_mimalloc() {
                MiMalloc.realloc(pointer, layout, size)
            } else {
                System.realloc(pointer, layout, size)
            }
        }
    }
}
