//! What happens in a round.

use std::time::Duration;

use fastrand::Rng;

/// Everything about a round that is drawn from its seed. Where in the work of a process a kill hits it is up to the machine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// When the journal says that something is kept.
    pub fsync: Fsync,
    /// How many events each publisher publishes.
    pub publishers: Vec<u32>,
    /// How many members share the durable name.
    pub members: u32,
    /// How many events may wait for them in memory.
    pub queue: u32,
    /// The ends of the host, one after the other.
    pub host_kills: Vec<HostKill>,
    /// The ends of other processes, by the number of lines that all have written by then.
    pub kills: Vec<Kill>,
}

/// A policy of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Acknowledged when it is on the disk.
    Batch,
    /// Acknowledged when the operating system has it.
    Os,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A publisher, by its index.
    Publisher(u32),
    /// A member, by its index.
    Member(u32),
}

/// A process other than the host is killed.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Who.
    pub who: Victim,
    /// When so many lines were written.
    pub lines: u64,
}

/// The host is killed.
#[derive(Clone, Copy, Debug)]
pub struct HostKill {
    /// When.
    pub when: When,
    /// So much later.
    pub delay: Duration,
    /// Its guardian is killed, and it ends by that.
    pub is_guardian: bool,
}

/// A moment in a life of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It has just been started.
    Starting,
    /// So many lines were written in this life of it.
    Lines(u64),
}

impl Fsync {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Os => "os",
        }
    }
}

impl Plan {
    /// That of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let fsync = if seed.is_multiple_of(2) { Fsync::Batch } else { Fsync::Os };
        let publishers: Vec<_> = (0..rng.u32(1..=3)).map(|_| rng.u32(40..=120)).collect();
        let members = rng.u32(2..=3);
        // Published, answered, delivered and handled.
        let lines = 4 * publishers.iter().copied().map(u64::from).sum::<u64>();
        let host_kills: Vec<_> = (0..rng.u64(1..=3)).map(|_| HostKill::new(&mut rng, lines)).collect();
        let victims =
            (0..publishers.len() as u32).map(Victim::Publisher).chain((0..members).map(Victim::Member));
        let victims: Vec<_> = victims.collect();
        let mut kills: Vec<_> = (0..rng.u64(1..=4))
            .map(|_| Kill { who: victims[rng.usize(..victims.len())], lines: rng.u64(..lines) })
            .collect();
        kills.sort_by_key(|kill| kill.lines);
        let queue = *rng.choice(&[4, 32, 1024]).unwrap_or(&1024);
        Self { seed, fsync, publishers, members, queue, host_kills, kills }
    }
}

impl HostKill {
    fn new(rng: &mut Rng, lines: u64) -> Self {
        let is_guardian = rng.u32(..5) == 0;
        match rng.u32(..5) {
            0 => Self { when: When::Starting, delay: Duration::from_micros(rng.u64(..60_000)), is_guardian },
            _ => Self {
                when: When::Lines(rng.u64(..lines / 2)),
                delay: Duration::from_micros(rng.u64(..4_000)),
                is_guardian,
            },
        }
    }
}
