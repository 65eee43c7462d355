//! A call of a method that has something which answers when no instance does: first the [cache](super::cache), then the
//! [fallback](super::fallback).

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::{Code, Status};

use super::body::{CallBody, follow};
use super::cache::{AnswerCache, KeptAnswer, Key};
use super::collect::{Collected, collect};
use super::errand::Terms;
use super::error::is_absence;
use super::fallback::Substitute;
use super::outcome::Outcome;
use super::record::Record;
use super::replay::Held;
use super::stats::Event;
use super::{Channel, Method, MethodInfo, RouteError};
use crate::config::{Idempotency, Policy};
use crate::name::PluginName;
use crate::resilience::clock::Moment;

/// What answers when no instance does.
#[derive(Debug)]
pub(super) struct Rescue {
    substitute: Option<Substitute>,
    /// How long good answers are kept; `None` when they are not.
    ttl: Option<Duration>,
}

impl Rescue {
    /// What there is for a method of `plugin`; `None` when there is nothing.
    pub(super) fn of(plugin: &PluginName, policy: &Policy, info: Option<&MethodInfo>) -> Option<Self> {
        let unary = info.filter(|info| !info.streams);
        let answer = unary.and_then(|info| info.answer.as_ref());
        let substitute = Substitute::of(plugin, &policy.fallback, answer);
        let may_keep = unary.is_some() && policy.idempotency >= Idempotency::NoSideEffects;
        let ttl = policy.cache.ttl.filter(|_| may_keep && policy.cache.enabled);
        (substitute.is_some() || ttl.is_some()).then_some(Self { substitute, ttl })
    }

    /// Whether the request may have to be sent to another plugin.
    pub(super) fn has_plugin(&self) -> bool {
        self.substitute.as_ref().is_some_and(Substitute::has_plugin)
    }
}

/// Makes a call, and answers it otherwise where that is how its method is to be treated.
pub(super) async fn rescued(
    channel: Channel,
    method: Arc<Method>,
    terms: Terms,
    request: Request<Body>,
    record: Record,
    now: Moment,
) -> Result<Response<CallBody>, Status> {
    let mut held = Held::new(channel.router().replay_memory().clone());
    let (request, keeper) = match method.rescue().and_then(|rescue| rescue.ttl) {
        None => (request, None),
        Some(ttl) => match Keeper::of(&method, ttl, &terms, request, &mut held).await {
            Ok(ready) => ready,
            Err(status) => {
                record.end_now(status.code());
                return Err(status);
            }
        },
    };
    let (errand, first) = channel.errand(method.clone(), terms, request);
    let mut attempts = Channel::begin(errand.clone(), first, record, now);
    attempts.settle().await;
    // An answer that is kept is read to its end, which may be another than that of the call.
    let mut record = if keeper.is_some() { attempts.take_record() } else { None };
    let answered = match (attempts.respond(), &keeper) {
        (Ok(response), None) => return Ok(response),
        (Ok(response), Some(keeper)) => keeper.answered(response, &mut held).await,
        (Err(status), None) => Err(status),
        (Err(status), Some(keeper)) => keeper.failed(status),
    };
    record = record.or_else(|| attempts.take_record());
    let substitute = method.rescue().and_then(|rescue| rescue.substitute.as_ref());
    let answered = match (answered, substitute) {
        (Err(status), Some(substitute)) if is_absence(&status) => {
            // The plugin is not busy with it.
            if let Some(record) = &mut record {
                record.release();
            }
            let answered = substitute.respond(&channel, &errand, status).await;
            if answered.is_ok() {
                method.stats().count(Event::Fallback);
            }
            answered
        }
        (answered, _) => answered,
    };
    match (answered, record) {
        (Ok(mut response), Some(record)) => {
            follow(&mut response, record);
            Ok(response)
        }
        (Err(status), Some(record)) => {
            record.end_now(status.code());
            Err(status)
        }
        (answered, None) => answered,
    }
}

/// Keeps the answer to one call, or gives the one that was kept.
struct Keeper<'a> {
    method: &'a Arc<Method>,
    ttl: Duration,
    key: Arc<Key>,
}

impl<'a> Keeper<'a> {
    /// Reads the request, which tells what the answer is an answer to. `None` when it is too large for that; it is sent on as
    /// it comes.
    async fn of(
        method: &'a Arc<Method>,
        ttl: Duration,
        terms: &Terms,
        request: Request<Body>,
        held: &mut Held,
    ) -> Result<(Request<Body>, Option<Self>), Status> {
        let (head, body) = request.into_parts();
        let cache = method.route().cache();
        let collecting = collect(body, cache.largest(), held);
        let collected = match terms.deadline {
            None => collecting.await?,
            Some(deadline) => timeout_at(deadline, collecting)
                .await
                .map_err(|_| Status::from(RouteError::late(method.route().plugin())))??,
        };
        let keeper = match &collected {
            Collected::Whole(message, _) => {
                Some(Self { method, ttl, key: Arc::new(Key::new(cache, &head, message)) })
            }
            Collected::Part(..) => None,
        };
        Ok((Request::from_parts(head, collected.into_body()), keeper))
    }

    fn cache(&self) -> &AnswerCache {
        self.method.route().cache()
    }

    /// An instance has answered: reads its answer to the end, which may be a failure.
    async fn answered(
        &self,
        response: Response<CallBody>,
        held: &mut Held,
    ) -> Result<Response<CallBody>, Status> {
        let (head, body) = response.into_parts();
        if let Some(outcome) = Outcome::of(&head.headers) {
            // No answer is good that has no message.
            return Ok(self.stale_for(outcome.code()).unwrap_or_else(|| Response::from_parts(head, body)));
        }
        match collect(body, self.cache().largest(), held).await {
            Err(status) => self.failed(status),
            Ok(Collected::Part(data, rest)) => Ok(Response::from_parts(head, CallBody::resumed(data, rest))),
            Ok(Collected::Whole(data, trailers)) => {
                let trailers = trailers.unwrap_or_default();
                let code = Outcome::of(&trailers).map_or(Code::Unknown, Outcome::code);
                if let Some(stale) = self.stale_for(code) {
                    return Ok(stale);
                }
                if code == Code::Ok && !data.is_empty() {
                    self.keep(KeptAnswer::new(&head.headers, &data, &trailers));
                }
                Ok(Response::from_parts(head, CallBody::kept(data, trailers)))
            }
        }
    }

    /// The call has failed.
    fn failed(&self, status: Status) -> Result<Response<CallBody>, Status> {
        let stale = match is_absence(&status) {
            true => self.stale(),
            false => self.stale_for(status.code()),
        };
        stale.ok_or(status)
    }

    /// What was kept, if `code` is a failure for which that is given.
    fn stale_for(&self, code: Code) -> Option<Response<CallBody>> {
        self.method.policy().circuit_breaker.codes.contains(code).then(|| self.stale())?
    }

    fn stale(&self) -> Option<Response<CallBody>> {
        let found = self.cache().get(&self.key, self.method.route().now());
        self.method.stats().count(match found {
            Some(_) => Event::CacheHit,
            None => Event::CacheMiss,
        });
        found.map(|(answer, age)| answer.respond(age))
    }

    fn keep(&self, answer: KeptAnswer) {
        self.cache().put(self.key.clone(), answer, self.ttl, self.method.route().now());
    }
}
