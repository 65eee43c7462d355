//! What is published: each event follows from the seed of its round, its publisher and its number.

use plugmesh_sdk::events::{Data, Event};

use crate::BoxError;

/// Topics of the events.
const TOPICS: [&str; 3] = ["order.placed", "order.paid", "order.shipped.late"];

/// The topics that the journal keeps.
pub const PATTERN: &str = "order.>";

/// Keys that the events have.
pub const KEYS: u32 = 8;

/// Bytes of data of the largest event.
const MAX_DATA: usize = 2000;

/// The event with this number, from 0, of a publisher.
///
/// # Errors
/// It cannot be built.
pub fn event(seed: u64, publisher: u32, number: u32) -> Result<Event, BoxError> {
    let mut rng = fastrand::Rng::with_seed(seed ^ (u64::from(publisher) << 48) ^ (u64::from(number) << 16));
    let topic = TOPICS[rng.usize(..TOPICS.len())];
    let key = format!("k{}", rng.u32(..KEYS));
    // Most are small.
    let most = if rng.u32(..10) == 0 { MAX_DATA } else { 100 };
    let mut data = vec![0; rng.usize(..=most)];
    rng.fill(&mut data);
    let (source, id) = (format!("/publisher/{publisher}"), format!("{publisher}-{number}"));
    Ok(Event::builder(topic, &source).id(&id).partition_key(&key).data(data).build()?)
}

/// Tells an event from every other one by what is in it: FNV-1a over its parts.
pub fn digest(event: &Event) -> u64 {
    let data = match event.data() {
        Data::Binary(data) => data,
        _ => &[],
    };
    let texts = [event.source(), event.id(), event.event_type(), event.partition_key().unwrap_or_default()];
    let parts = texts.into_iter().map(str::as_bytes).chain([data]);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.len().to_be_bytes().iter().chain(part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
