//! Consistent hashing: the same key goes to the same endpoint, and few keys move when endpoints change.

use super::stable_hash::{nth, stable_hash};

/// Points on the ring for each unit of weight. The share of a member then deviates by about 1/√256 = 6 %
/// (one standard deviation); ketama's 160 give 8 %.
const POINTS_PER_WEIGHT: u64 = 256;

/// Points on the ring at most, 1.3 MB with the index. Beyond it all members have fewer in proportion.
const MAX_POINTS: u64 = 1 << 16;

/// Members for which a walk needs no allocation.
const INLINE_MEMBERS: usize = 1024;

/// A ring of points, each of which belongs to a member; a key belongs to the first point at or after its hash
/// (Karger et al. 1997). Members have points by their weights, at places that depend on their names only.
///
/// Removing a member moves its keys and no others; a new member takes keys, and none moves between the others.
/// That holds exactly as long as the weights add up to at most 256. Beyond, points thin out as members are
/// added, and up to about twice as many keys move.
///
/// For bounded load (Mirrokni, Thorup, Zadimoghaddam 2018), go through [`HashRing::walk`] to the first member
/// that has fewer calls in flight than its [`HashRing::capacity`].
#[derive(Clone, Debug)]
pub(crate) struct HashRing {
    /// Ordered by place.
    points: Box<[Point]>,
    /// For each value of the highest bits of a hash, the first point that is not before it.
    starts: Box<[u32]>,
    /// How far to shift a hash to get at those bits.
    shift: u32,
    /// Of each member, its part of all weight.
    shares: Box<[f64]>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    place: u64,
    member: u32,
}

/// Distinct members in the order of the ring, from [`HashRing::walk`].
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    ring: &'a HashRing,
    next: usize,
    /// Points not looked at yet.
    left: usize,
    seen: Seen,
}

/// A set of members that needs no allocation for the first of them.
#[derive(Debug)]
struct Seen {
    first: [u64; INLINE_MEMBERS / 64],
    others: Vec<u64>,
}

impl HashRing {
    /// The place of a key.
    pub(crate) fn hash(key: &[u8]) -> u64 {
        stable_hash(key)
    }

    /// A ring of members, each with a name that stays the same over restarts and a weight. One with a weight
    /// of zero gets no keys. Names must differ: of equal ones the first gets all keys.
    ///
    /// Takes some milliseconds with a thousand members, so build it when they change, not for a call.
    pub(crate) fn new(members: &[(&[u8], u32)]) -> Self {
        let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
        // By name, so that hosts that list the members in another order agree on whose a place is that two
        // members have.
        let mut by_name: Vec<_> =
            (0..).zip(members).map(|(index, (name, weight))| (*name, index, *weight)).collect();
        by_name.sort_unstable();
        let mut points = Vec::new();
        for (rank, (name, _, weight)) in (0..).zip(&by_name) {
            let seed = stable_hash(name);
            let places = (0..points_of(u64::from(*weight), total)).map(|n| nth(seed, n));
            points.extend(places.map(|place| Point { place, member: rank }));
        }
        points.sort_unstable_by_key(|point| (point.place, point.member));
        for point in &mut points {
            point.member = by_name.get(point.member as usize).map_or(0, |(_, index, _)| *index);
        }
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        let mut next = 0;
        for top in 0..1u64 << bits {
            next += points.iter().skip(next).take_while(|point| point.place >> shift < top).count();
            starts.push(next as u32);
        }
        let share = |weight: u32| if total == 0 { 0.0 } else { f64::from(weight) / total as f64 };
        let shares = members.iter().map(|(_, weight)| share(*weight)).collect();
        Self { points: points.into(), starts: starts.into(), shift, shares }
    }

    /// The member that a key with this hash belongs to; `None` when no member has any weight.
    #[cfg(test)]
    fn lookup(&self, hash: u64) -> Option<usize> {
        self.points.get(self.first_point(hash)).map(|point| point.member as usize)
    }

    /// All members with any weight, each once, in the order in which a key with this hash would go to them if
    /// those before were not there. Allocates only with more than 1,024 members.
    pub(crate) fn walk(&self, hash: u64) -> Walk<'_> {
        let seen = Seen { first: [0; _], others: Vec::new() };
        Walk { ring: self, next: self.first_point(hash), left: self.points.len(), seen }
    }

    /// The calls that a member may have in flight when all together have `in_flight`, not counting the call
    /// that is to be placed: `factor` times its share, rounded up. With a factor above one, some member always
    /// has room; below one it counts as one.
    pub(crate) fn capacity(&self, member: usize, in_flight: u64, factor: f64) -> u64 {
        let share = self.shares.get(member).copied().unwrap_or_default();
        (factor.max(1.0) * (in_flight as f64 + 1.0) * share).ceil() as u64
    }

    /// The first point at or after `hash`, round the end.
    fn first_point(&self, hash: u64) -> usize {
        let start = self.starts.get((hash >> self.shift) as usize).map_or(0, |start| *start as usize);
        let before = self.points.iter().skip(start).take_while(|point| point.place < hash).count();
        if start + before < self.points.len() { start + before } else { 0 }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.left > 0 {
            let member = self.ring.points.get(self.next)?.member as usize;
            self.left -= 1;
            self.next = if self.next + 1 < self.ring.points.len() { self.next + 1 } else { 0 };
            if self.seen.insert(member) {
                return Some(member);
            }
        }
        None
    }
}

impl Seen {
    /// Whether it was not there yet.
    fn insert(&mut self, member: usize) -> bool {
        let (word, bit) = (member / 64, 1 << (member % 64));
        let word = if word < self.first.len() {
            self.first.get_mut(word)
        } else {
            let word = word - self.first.len();
            if word >= self.others.len() {
                self.others.resize(word + 1, 0);
            }
            self.others.get_mut(word)
        };
        word.is_some_and(|word| {
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }
}

/// A member with any weight has one point at least.
fn points_of(weight: u64, total: u64) -> u64 {
    if total.saturating_mul(POINTS_PER_WEIGHT) <= MAX_POINTS {
        weight * POINTS_PER_WEIGHT
    } else {
        (weight * MAX_POINTS / total).max(u64::from(weight > 0))
    }
}

#[cfg(test)]
mod tests;
