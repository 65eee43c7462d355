//! How an instance is doing, by `grpc.health.v1`.

mod check;
mod codec;

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use self::codec::HealthCodec;
use super::words;
use crate::route::{Endpoint, EndpointChannel};

pub use check::check;

/// What an instance says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// SERVING, or it has no health service, which counts as healthy (gRPC A17).
    Serving,
    /// NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN.
    NotServing,
}

/// Follows the health of one instance.
#[derive(Debug)]
pub struct HealthWatch {
    client: Grpc<EndpointChannel>,
    state: State,
    /// The last word that was not told yet, and when it may be.
    held: Option<Health>,
    tell_from: Instant,
}

#[derive(Debug)]
enum State {
    Idle,
    Watching(Box<Streaming<HealthCheckResponse>>),
    /// The last watch ended: not again at once.
    Ended,
    /// There is nothing to follow.
    Absent,
}

/// The health of an instance cannot be learnt.
#[derive(Debug, thiserror::Error)]
#[error("its health cannot be learnt: {}", words(.0))]
pub struct HealthError(#[source] Box<Status>);

/// The method.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Words that come faster than this are taken together, and the last one stands: an instance that changes its
/// mind all the time is not to keep the host busy with it.
const PACE: Duration = Duration::from_millis(50);

/// Between two attempts to watch an instance that ended the last one.
const RETRY: Duration = Duration::from_millis(500);

impl HealthWatch {
    /// A watch that has asked nothing yet.
    pub fn new(endpoint: &Arc<Endpoint>) -> Self {
        let client = Grpc::new(endpoint.channel());
        Self { client, state: State::Idle, held: None, tell_from: Instant::now() }
    }

    /// Waits for the next word on the health of the whole instance, the service named "". The first one
    /// comes at once; later ones when something changes; none ever when the instance has no health service.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The watch broke. The next call tries again, after a pause.
    pub async fn next(&mut self) -> Result<Health, HealthError> {
        loop {
            match &mut self.state {
                State::Idle => match self.watch().await {
                    Ok(stream) => self.state = State::Watching(Box::new(stream.into_inner())),
                    Err(status) => return self.ended(status),
                },
                State::Watching(stream) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(self.tell_from), if self.held.is_some() => {
                        if let Some(health) = self.held.take() {
                            self.tell_from = Instant::now() + PACE;
                            return Ok(health);
                        }
                    }
                    message = stream.message() => match message {
                        Ok(Some(response)) => self.held = Some(health(response.status())),
                        // What was held comes from a watch that is over: the next one says it again.
                        Ok(None) => return self.ended(Status::unavailable("the watch ended")),
                        Err(status) => return self.ended(status),
                    },
                },
                State::Ended => {
                    tokio::time::sleep(RETRY).await;
                    self.state = State::Idle;
                }
                State::Absent => std::future::pending().await,
            }
        }
    }

    async fn watch(&mut self) -> Result<Response<Streaming<HealthCheckResponse>>, Status> {
        self.client.ready().await?;
        let request = Request::new(HealthCheckRequest { service: String::new() });
        self.client.server_streaming(request, PathAndQuery::from_static(WATCH), HealthCodec).await
    }

    fn ended(&mut self, status: Status) -> Result<Health, HealthError> {
        match status.code() {
            Code::Unimplemented => {
                self.state = State::Absent;
                Ok(Health::Serving)
            }
            _ => {
                self.state = State::Ended;
                Err(HealthError(Box::new(status)))
            }
        }
    }
}

fn health(status: ServingStatus) -> Health {
    match status {
        ServingStatus::Serving => Health::Serving,
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            Health::NotServing
        }
    }
}
