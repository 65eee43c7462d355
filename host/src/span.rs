//! Spans of calls, and the W3C trace context that ties them to those of others.
//!
//! They are ordinary spans of `tracing` with the target [`TARGET`] at the level TRACE, which log filters leave off: without
//! a subscriber that wants them a call pays for a look at a number. A subscriber with a layer of `tracing-opentelemetry` gets them as
//! OpenTelemetry spans, by the conventions for RPC:
//!
//! - *server*, for each call that comes to the gateway;
//! - *call*, for each call into the mesh, however many attempts it takes;
//! - *attempt*, for each time that it is sent to an instance.
//!
//! The context travels in the metadata `traceparent` and `tracestate`, between these spans as well: each is a child of what the
//! metadata names, or else of the program's current span, and puts itself in its place. So a plugin's spans are children of
//! the attempt that reached it. Without such a layer the metadata passes as it came.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::code::{code_name, is_server_error};

/// Target of the spans: a subscriber that wants them has `plugmesh::rpc=trace` in its filter.
pub const TARGET: &str = "plugmesh::rpc";

/// A span while it lasts; nothing, in one word, when nobody wants it. It ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct CallSpan(Option<Box<Traced>>);

#[derive(Debug)]
struct Traced {
    span: Span,
    is_server: bool,
}

/// Stands for every method that nobody has described.
const OTHER: &str = "_OTHER";

impl CallSpan {
    /// Of a call that comes to the gateway; whether a descriptor names the method.
    #[inline]
    pub(crate) fn server<B>(request: &mut Request<B>, is_known: bool) -> Self {
        let path = request.uri().path();
        let span = tracing::trace_span!(
            target: TARGET, parent: None, "server", otel.name = shown(path, is_known), otel.kind = "server",
            otel.status_code = Empty, rpc.system.name = "grpc", rpc.method = shown(path, is_known),
            rpc.method_original = original(path, is_known), rpc.response.status_code = Empty, "error.type" = Empty,
        );
        Self::begin(span, request, true)
    }

    /// Of a call into the mesh, which `plugin` serves.
    #[inline]
    pub(crate) fn call<B>(request: &mut Request<B>, is_known: bool, plugin: &str) -> Self {
        let path = request.uri().path();
        let span = tracing::trace_span!(
            target: TARGET, "call", otel.name = shown(path, is_known), otel.kind = "client",
            otel.status_code = Empty, rpc.system.name = "grpc", rpc.method = shown(path, is_known),
            rpc.method_original = original(path, is_known), rpc.response.status_code = Empty, "error.type" = Empty,
            plugmesh.plugin = plugin,
        );
        Self::begin(span, request, false)
    }

    /// Of one attempt of such a call, on an instance.
    #[inline]
    pub(crate) fn attempt<B>(request: &mut Request<B>, is_known: bool, plugin: &str, instance: &str) -> Self {
        let path = request.uri().path();
        let span = tracing::trace_span!(
            target: TARGET, parent: None, "attempt", otel.name = format!("attempt {}", shown(path, is_known)),
            otel.kind = "client", otel.status_code = Empty, rpc.system.name = "grpc",
            rpc.method = shown(path, is_known), rpc.method_original = original(path, is_known),
            rpc.response.status_code = Empty, "error.type" = Empty, plugmesh.plugin = plugin,
            plugmesh.instance = instance,
        );
        Self::begin(span, request, false)
    }

    #[inline]
    fn begin<B>(span: Span, request: &mut Request<B>, is_server: bool) -> Self {
        match span.is_disabled() {
            true => Self(None),
            false => Self::tie(span, request.headers_mut(), is_server),
        }
    }

    /// Makes it a child of what the headers name, and names it there.
    #[cold]
    fn tie(span: Span, headers: &mut HeaderMap, is_server: bool) -> Self {
        let propagator = TraceContextPropagator::new();
        let parent = propagator.extract_with_context(&opentelemetry::Context::new(), &Carrier(headers));
        if parent.span().span_context().is_valid() {
            // Refused when no layer of OpenTelemetry is there.
            let _ = span.set_parent(parent);
        }
        let context = span.context();
        if context.span().span_context().is_valid() {
            propagator.inject_context(&context, &mut CarrierMut(headers));
        }
        Self(Some(Box::new(Traced { span, is_server })))
    }

    /// How the call ended. The span lasts until it is dropped.
    #[inline]
    pub(crate) fn ends_with(&self, code: Code) {
        if let Some(traced) = &self.0 {
            traced.ends_with(code);
        }
    }
}

impl Traced {
    #[cold]
    fn ends_with(&self, code: Code) {
        let Self { span, is_server } = self;
        span.record("rpc.response.status_code", code_name(code));
        if is_server_error(code) || (!is_server && code != Code::Ok) {
            span.record("error.type", code_name(code));
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The name of a method. What nobody has described has one name, since names of spans are counted by collectors.
fn shown(path: &str, is_known: bool) -> &str {
    match is_known {
        true => path.strip_prefix('/').unwrap_or(path),
        false => OTHER,
    }
}

fn original(path: &str, is_known: bool) -> Option<&str> {
    (!is_known).then_some(path)
}

/// Metadata that a context is read from.
struct Carrier<'a>(&'a HeaderMap);

/// Metadata that a context is written to.
struct CarrierMut<'a>(&'a mut HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for CarrierMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let Ok(name) = HeaderName::from_bytes(key.as_bytes()) else { return };
        match HeaderValue::try_from(value) {
            Ok(value) if !value.is_empty() => drop(self.0.insert(name, value)),
            // An empty state is none.
            _ => drop(self.0.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests;
