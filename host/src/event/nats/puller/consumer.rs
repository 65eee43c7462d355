//! The consumer of JetStream that a durable name is.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, FromConsumer as _, pull};
use async_nats::jetstream::stream::Stream;
use plugmesh::causes::with_causes;
use tonic::Code;

use super::super::super::feeder::place;
use super::super::super::progress::Start;
use super::super::names::{self, Names};
use super::Work;

/// How long JetStream waits for an answer before it gives an event to somebody else: a host that is gone is missed after this.
const ACK_WAIT: Duration = Duration::from_secs(10);

/// Events that are with all hosts together and not answered for, for a durable name.
const MAX_PENDING: i64 = 100_000;

impl Work {
    /// Makes sure that there is a consumer.
    pub(super) async fn prepare(&self, start: Start) -> Result<Consumer<pull::Config>, (Code, String)> {
        let name = Names::consumer(self.subscription.spec.durable_name().unwrap_or_default());
        let unavailable = |error: crate::BoxError| {
            let message =
                format!("NATS at {} keeps no durable name: {}", self.nats.servers, with_causes(&*error));
            (Code::Unavailable, message)
        };
        let stream = self.nats.context.get_stream_no_info(&self.nats.names.stream).await;
        let stream = stream.map_err(|error| unavailable(error.into()))?;
        let spec = self.subscription.spec.to_wire();
        let wanted = names::wanted(spec.patterns, spec.filters);
        if let Ok(consumer) = stream.get_consumer::<pull::Config>(&name).await {
            return match consumer.cached_info().config.description.as_ref() == Some(&wanted) {
                true => Ok(consumer),
                false => self.change(&stream, &consumer, wanted).await,
            };
        }
        let Some(durable) = self.bus.durable() else { return Err((Code::Unavailable, String::new())) };
        self.nats.refresh().await.map_err(|error| unavailable(error.into()))?;
        let start = match start {
            // Not where the tail is: all that was acknowledged is behind.
            Start::End => Some(self.nats.last_place()),
            other => place(durable, other).await.map_err(|error| unavailable(error.into()))?,
        };
        let after =
            start.ok_or_else(|| (Code::NotFound, "the stream holds no event with that id".to_owned()))?;
        let config = pull::Config {
            durable_name: Some(name.clone()),
            description: Some(wanted),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            max_ack_pending: MAX_PENDING,
            filter_subject: self.nats.names.filter(&self.subscription.spec.patterns),
            ..pull::Config::default()
        };
        match stream.create_consumer(config).await {
            Ok(consumer) => Ok(consumer),
            // Another host may have been faster, from a place of its own.
            Err(error) => stream.get_consumer(&name).await.map_err(|_| unavailable(error.into())),
        }
    }

    /// Has a consumer hand out what is wanted now, from where it was.
    async fn change(
        &self,
        stream: &Stream<()>,
        consumer: &Consumer<pull::Config>,
        wanted: String,
    ) -> Result<Consumer<pull::Config>, (Code, String)> {
        let name = &self.subscription.name;
        let info = consumer.cached_info();
        if info.num_waiting > 0 {
            let message =
                format!("the durable name {name} is in use on another host with other topics or filters");
            return Err((Code::FailedPrecondition, message));
        }
        let refused = |error: crate::BoxError| {
            let message = format!(
                "the durable name {name} was used with other topics or filters, and NATS does not change them; delete it first: {}",
                with_causes(&*error)
            );
            (Code::FailedPrecondition, message)
        };
        let config = pull::Config::try_from_consumer_config(info.config.clone()).map_err(refused)?;
        let filter_subject = self.nats.names.filter(&self.subscription.spec.patterns);
        let config = pull::Config { description: Some(wanted), filter_subject, ..config };
        stream.create_consumer(config).await.map_err(|error| refused(error.into()))
    }
}
