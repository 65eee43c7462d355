//! How many calls came to the gateway, and how long they took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::{Method, Request};
use tonic::Code;

use super::reflection::Catalog;
use crate::resilience::by_code::LatencyByCode;
use crate::resilience::clock::{Clock, Moment};
use crate::resilience::latency::LatencyHistogram;
use crate::span::CallSpan;

/// Methods that are counted apart. Each takes some kilobytes; beyond it, or where no descriptor names the method, calls count as
/// one: what callers make up must not take memory.
const MAX_METHODS: usize = 4096;

type Methods = HashMap<Box<str>, Arc<LatencyByCode>, foldhash::fast::RandomState>;

/// The calls that came to a gateway, by method and status.
#[derive(Debug)]
pub(crate) struct ServerCalls {
    clock: Clock,
    catalog: Catalog,
    /// By path: `/package.Service/Method`.
    methods: ArcSwap<Methods>,
    // Whoever changes the methods holds this, so that no change is lost.
    changing: Mutex<()>,
    other: Arc<LatencyByCode>,
    connections: AtomicU64,
}

/// A call that is counted when this is dropped: as cancelled, unless something else was noted.
#[derive(Debug)]
pub(super) struct Metered {
    clock: Clock,
    method: Option<Arc<LatencyByCode>>,
    began: Moment,
    code: Code,
    span: CallSpan,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Connected(Arc<ServerCalls>);

impl ServerCalls {
    /// Counts the methods apart that `catalog` knows.
    pub(crate) fn new(catalog: Catalog) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            catalog,
            methods: ArcSwap::default(),
            changing: Mutex::default(),
            other: Arc::default(),
            connections: AtomicU64::new(0),
        })
    }

    /// A call begins. It gets a span, if anybody wants one, which its head tells of.
    pub(super) fn begin<B>(&self, request: &mut Request<B>) -> Metered {
        let path = request.uri().path();
        let known = self.methods.load().get(path).cloned();
        let method = known.unwrap_or_else(|| self.first_call(path));
        let is_known = !Arc::ptr_eq(&method, &self.other);
        let is_call = request.method() == Method::POST;
        let span = if is_call { CallSpan::server(request, is_known) } else { CallSpan::default() };
        Metered {
            clock: self.clock,
            method: Some(method),
            began: self.clock.now(),
            code: Code::Cancelled,
            span,
        }
    }

    #[cold]
    fn first_call(&self, path: &str) -> Arc<LatencyByCode> {
        let symbol = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let is_known = symbol.is_some_and(|(service, method)| self.catalog.has_method(service, method));
        if !is_known || self.methods.load().len() >= MAX_METHODS {
            return self.other.clone();
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut methods = Methods::clone(&self.methods.load());
        let method = methods.entry(path.into()).or_default().clone();
        self.methods.store(Arc::new(methods));
        method
    }

    pub(super) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self.clone())
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Shows every method, without its leading slash, and status that was seen; `None` stands for methods that nobody has
    /// described.
    pub(crate) fn read(&self, mut show: impl FnMut(Option<&str>, Code, &LatencyHistogram)) {
        for (path, method) in self.methods.load().iter() {
            let name = path.strip_prefix('/').unwrap_or(path);
            method.iter().for_each(|(code, latency)| show(Some(name), code, latency));
        }
        self.other.iter().for_each(|(code, latency)| show(None, code, latency));
    }
}

impl Metered {
    /// How it ends.
    pub(super) fn ends_with(&mut self, code: Code) {
        self.code = code;
    }

    /// It is none of gRPC, and not counted.
    pub(super) fn is_no_call(&mut self) {
        self.method = None;
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let Some(method) = &self.method {
            method.record(self.code, self.clock.now().since(self.began));
            self.span.ends_with(self.code);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
