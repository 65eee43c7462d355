//! Every default and every bound of the two files, in one place, with the reason for each.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::size::ByteSize;

/// Name of a host that gives none; it is part of its certificate's SPIFFE ID.
pub const HOST_NAME: &str = "plugmesh";

/// Copies of a plugin: one, since not every plugin can run twice.
pub const INSTANCES: u32 = 1;

/// Most copies of a plugin on one host; more is a number typed wrong.
pub const MAX_INSTANCES: u32 = 64;

/// Connections to one instance: one carries the calls of most plugins, and four share out the work of a
/// plugin that uses as many threads. Those beside the first are opened when calls crowd.
pub const MAX_CONNECTIONS: u32 = 4;

/// What [`MAX_CONNECTIONS`] may be raised to; a plugin needs no more descriptors from one host.
pub const CONNECTIONS_BOUND: u32 = 64;

/// From spawn to ready: a compiled plugin takes milliseconds, an interpreter with heavy imports on a cold
/// disk takes seconds, a JVM on a busy machine more; a person still waits 30 s before giving up.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a plugin may finish its calls when it is stopped. Less than [`DRAIN_TIMEOUT`], so that a host
/// that shuts down still has time for the phases and the kill that follow.
pub const PLUGIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a host's shutdown takes at most: what service managers and container runtimes grant before
/// they kill.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a timeout may be: below a millisecond nothing answers, above a day nobody waits.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

/// How long a build may take: a cold compile of a large plugin, not a hung download.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Largest message of a call: far above what calls should carry, far below what hurts a host.
pub const MAX_MESSAGE_SIZE: ByteSize = ByteSize::mib(64);

/// What the largest message may be set to; a gRPC frame's length has 32 bits.
pub const MESSAGE_SIZES: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::bytes(u32::MAX as u64);

/// Connections to the gateway at once, well below the usual limit of descriptors.
pub const CONNECTIONS: u32 = 1024;

/// Concurrent calls on one connection to the gateway: more than a busy client has in flight, and few enough
/// that one connection cannot take the host's memory.
pub const STREAMS_PER_CONNECTION: u32 = 1000;

/// Streams that a client may reset before they were answered, in a row: it may cancel all its calls at once,
/// anything beyond is an attack (rapid reset).
pub const RESETS_PER_CONNECTION: u32 = STREAMS_PER_CONNECTION;

/// Header list of one call: what most servers take.
pub const HEADER_LIST_SIZE: ByteSize = ByteSize::kib(16);

/// What the header list may be set to.
pub const HEADER_LIST_SIZES: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::mib(1);

/// For TLS and the HTTP/2 preface together: a slow mobile link makes it, a slowloris holds a slot only so long.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// For a connection without a call: above the usual keep-alive of clients, so that they close first.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// `service.name` of a host in metrics and traces.
pub const SERVICE_NAME: &str = "plugmesh";

/// From one export of metrics to the next: what most scrapers use.
pub const EXPORT_INTERVAL: Duration = Duration::from_secs(15);

/// What it may be: reading everything takes milliseconds, and a day's gap shows nothing.
pub const EXPORT_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// How long one export may take: OpenTelemetry's default.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Share of the traces that begin at a host and are sent, when there is a collector.
pub const SAMPLE_RATIO: f64 = 1.0;

/// Most entries of a list or a mapping in a file: more than a person writes.
pub const MAX_ENTRIES: usize = 256;

/// What a limit of failures, successes or restarts may be: beyond it is a number typed wrong.
pub const LIMITS: RangeInclusive<u32> = 1..=1000;

/// Calls in flight on each copy that a plugin whose number follows the load aims at: enough to keep a few threads
/// busy, few enough that a call hardly waits for another.
pub const TARGET_IN_FLIGHT: u32 = 10;

/// What [`TARGET_IN_FLIGHT`] may be set to; more is no bound.
pub const MAX_TARGET: u32 = 1_000_000;

/// How long there must be too many calls before another copy starts: longer than a burst, a third of Knative's
/// panic window, since a process starts faster than a container.
pub const SCALE_UP_AFTER: Duration = Duration::from_secs(2);

/// How long there must be too few calls before a copy stops: Knative's stable window. A copy that is stopped too
/// late costs memory, one that is stopped too early a start.
pub const SCALE_DOWN_AFTER: Duration = Duration::from_secs(60);

/// How long nobody may have called before the last copy of a plugin with `min: 0` stops: KEDA's cool-down.
pub const IDLE_TIMEOUT_OF_PLUGIN: Duration = Duration::from_secs(5 * 60);

/// Starts of processes at once on a host, for each core, and at least: a start is mostly the plugin's own work, on
/// its own cores, and much of it waits for a disk.
pub const STARTS_PER_CORE: u32 = 4;
/// See [`STARTS_PER_CORE`].
pub const MIN_STARTS: u32 = 16;

/// What `max_concurrent_starts` may be.
pub const STARTS: RangeInclusive<u32> = 1..=1024;

/// Largest event: what most brokers take.
pub const EVENT_SIZE: ByteSize = ByteSize::mib(1);

/// What it may be set to: a frame has four of the largest at most, and a journal's row has one.
pub const EVENT_SIZES: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::mib(4);

/// Events that may wait for a subscription: some milliseconds of a fast publisher, and nothing to be afraid of in memory.
pub const QUEUE: u32 = 1024;

/// What [`QUEUE`] may be.
pub const QUEUES: RangeInclusive<u32> = 1..=1 << 20;

/// Bytes of events that a subscription holds, which bounds a queue of large ones.
pub const QUEUE_BYTES: ByteSize = ByteSize::mib(64);

/// What [`QUEUE_BYTES`] may be: with room for the largest event.
pub const QUEUE_SIZES: RangeInclusive<ByteSize> = ByteSize::mib(4)..=ByteSize::mib(4096);

/// How long a handler may be at an event: what JetStream and NATS clients have.
pub const ACK_DEADLINE: Duration = Duration::from_secs(30);

/// Deliveries after which an event is given up: the default of Kafka's share groups.
pub const MAX_ATTEMPTS: u32 = 5;

/// The pause before the second delivery.
pub const REDELIVERY_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause between deliveries: what is down for longer is looked at by people.
pub const MAX_REDELIVERY_INTERVAL: Duration = Duration::from_secs(60);

/// Most bytes of a journal's file.
pub const JOURNAL_SIZE: ByteSize = ByteSize::mib(1024);

/// What it may be, and what one of its topics may keep.
pub const JOURNAL_SIZES: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::bytes(1 << 44);

/// How long events may be kept: a minute to ten years.
pub const RETENTION_AGES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(3660 * 24 * 60 * 60);

/// Dead letters of a journal: each is something that a person should look at.
pub const DEAD_LETTERS: u32 = 100_000;

/// Bytes of dead letters of a journal.
pub const DEAD_LETTER_BYTES: ByteSize = ByteSize::mib(256);
