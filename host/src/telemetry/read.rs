//! Reads everything that is counted.

mod calls;
mod events;
mod plugins;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::Code;

use super::catalogue::*;
use super::metrics::{Labels, Metrics};
use crate::code::{code_name, is_server_error};
use crate::event::Events;
use crate::gateway::ServerCalls;
use crate::route::Router;
use crate::supervise::Board;
use calls::{read_method, read_route};
use events::read_events;
use plugins::read_plugin;

/// Stands for every method that nobody has described: what callers make up must not make series.
const OTHER: &str = "_OTHER";

const METHOD: &str = "rpc.method";
const PLUGIN: &str = "plugmesh.plugin";
const INSTANCE: &str = "plugmesh.instance";
const STATE: &str = "state";

/// Where the numbers are. Clones read the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    started: SystemTime,
    board: Board,
    router: Router,
    gateway: Arc<ServerCalls>,
    events: Option<Events>,
}

impl Source {
    pub(crate) fn new(started: SystemTime, board: Board, router: Router, gateway: Arc<ServerCalls>) -> Self {
        Self { started, board, router, gateway, events: None }
    }

    /// Also reads what is counted of events.
    pub(crate) fn with_events(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    /// Everything as it is now.
    pub(crate) fn read(&self) -> Metrics {
        let mut metrics = Metrics::new(self.started);
        for (route, methods) in self.router.routes() {
            read_route(&mut metrics, &route);
            methods.iter().for_each(|method| read_method(&mut metrics, method));
        }
        for status in self.board.snapshot().values() {
            read_plugin(&mut metrics, status);
        }
        self.gateway.read(|method, code, latency| {
            let method = Cow::Owned(method.unwrap_or(OTHER).to_owned());
            let labels = rpc(method, code, is_server_error(code));
            metrics.add(&SERVER_DURATION, labels, latency.snapshot().into());
        });
        if let Some(events) = &self.events {
            read_events(&mut metrics, &events.statistics());
        }
        metrics.count(&CONNECTIONS, &Labels::new(), self.gateway.connections());
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        metrics.level(&START_TIME, &Labels::new(), started.as_secs_f64());
        metrics
    }
}

fn text(value: impl Into<String>) -> Cow<'static, str> {
    Cow::Owned(value.into())
}

/// What every histogram of calls has.
fn rpc(method: Cow<'static, str>, code: Code, is_error: bool) -> Labels {
    let code = Cow::Borrowed(code_name(code));
    let mut labels = vec![
        ("rpc.system.name", Cow::Borrowed("grpc")),
        (METHOD, method),
        ("rpc.response.status_code", code.clone()),
    ];
    if is_error {
        labels.push(("error.type", code));
    }
    labels
}
