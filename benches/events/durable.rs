//! Events that are kept: one publisher with many on their way, each acknowledged when it is kept.

use std::time::Instant;

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use plugmesh_benches::BoxError;
use plugmesh_benches::args::Span;
use plugmesh_sdk::events::{Ack, Event};
use serde::{Deserialize, Serialize};

use crate::bus::DURABLE;
use crate::cells::Place;
use crate::{bus, nats};

/// Events that wait for their acknowledgement.
const WINDOW: usize = 256;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Publisher {
    pub(crate) place: Place,
    pub(crate) payload: usize,
    pub(crate) span: Span,
}

type Publishing = BoxFuture<'static, Result<(), BoxError>>;

impl Publisher {
    /// Publishes for as long as it should, and prints how many were acknowledged a second.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let data = Bytes::from(vec![7; self.payload]);
        let rate = match &self.place {
            Place::Bus(address) => {
                let events = bus::connect(address).await?;
                let mut number = 0_u64;
                rate(self.span, || {
                    number += 1;
                    let (events, data, id) = (events.clone(), data.clone(), number.to_string());
                    Box::pin(async move {
                        let event = Event::builder(DURABLE, "/bench").id(&id).data(&data[..]).build()?;
                        let outcome = events.publish_acknowledged(event, Ack::Durable).await?;
                        if outcome.duplicate { Err("a duplicate".into()) } else { Ok(()) }
                    })
                })
                .await?
            }
            Place::Nats(address) => {
                let context = jetstream::new(nats::connect(address).await?);
                let stream = jetstream::stream::Config {
                    name: "bench".to_owned(),
                    subjects: vec![DURABLE.to_owned()],
                    storage: jetstream::stream::StorageType::File,
                    ..Default::default()
                };
                context.create_stream(stream).await?;
                rate(self.span, || {
                    let (context, data) = (context.clone(), data.clone());
                    Box::pin(async move {
                        context.publish(DURABLE, data).await?.await?;
                        Ok(())
                    })
                })
                .await?
            }
        };
        println!("{rate}");
        Ok(())
    }
}

/// Publishes with a window, and gives how many were acknowledged a second.
async fn rate(span: Span, mut publish: impl FnMut() -> Publishing) -> Result<f64, BoxError> {
    let mut publishing: FuturesUnordered<_> = (0..WINDOW).map(|_| publish()).collect();
    let (began, mut counted_from, mut count) = (Instant::now(), None, 0_u64);
    while let Some(published) = publishing.next().await {
        published?;
        let elapsed = began.elapsed();
        if elapsed < span.warm_up {
            publishing.push(publish());
            continue;
        }
        let since = *counted_from.get_or_insert_with(Instant::now);
        count += 1;
        if elapsed < span.warm_up + span.measured {
            publishing.push(publish());
        } else if publishing.is_empty() {
            return Ok(count as f64 / since.elapsed().as_secs_f64());
        }
    }
    Err("nothing was published".into())
}
