//! Counting from many threads without one cache line that all of them write.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;

/// The most shards of a counter: with more, memory and reading cost more than the last conflicts do.
const MAX_SHARDS: usize = 8;

/// Numbers threads as they come, so that the first few never share a shard. It is no setting and no result,
/// only a way to tell threads apart.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Alone on its cache lines; two of them, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// As many as there are processors, as a power of two.
pub(super) fn shards<T: Default>() -> Box<[Padded<T>]> {
    let processors = available_parallelism().map_or(1, usize::from);
    (0..processors.next_power_of_two().min(MAX_SHARDS)).map(|_| Padded::default()).collect()
}

/// The shard of this thread. Their number must be a power of two.
pub(super) fn mine<T>(shards: &[T]) -> Option<&T> {
    let thread = THREAD.get();
    let thread = if thread == usize::MAX { number_thread() } else { thread };
    shards.get(thread & shards.len().wrapping_sub(1))
}

#[cold]
fn number_thread() -> usize {
    let number = NEXT_THREAD.fetch_add(1, Relaxed) & (usize::MAX >> 1);
    THREAD.set(number);
    number
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let shards = shards::<AtomicU64>();
        let add = |n| {
            mine(&shards).unwrap().0.fetch_add(n, Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50_000).for_each(|n| add(n % 3)));
            }
        });
        assert_eq!(shards.iter().map(|shard| shard.0.load(Relaxed)).sum::<u64>(), 8 * 49_999);
    }

    #[test]
    fn shards_are_a_power_of_two_and_lie_apart() {
        let shards = shards::<AtomicU64>();
        assert!(shards.len().is_power_of_two() && shards.len() <= MAX_SHARDS);
        assert_eq!(size_of::<Padded<AtomicU64>>(), 128);
        assert!(mine(&shards).is_some());
        assert!(mine::<u8>(&[]).is_none());
    }
}
