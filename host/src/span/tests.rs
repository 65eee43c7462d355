use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps what has ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &opentelemetry::Context) {}
    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
    fn set_resource(&mut self, _: &Resource) {}
}

/// Runs `work` where a program has a layer of OpenTelemetry, and gives the spans by name.
fn traced(work: impl FnOnce()) -> Vec<SpanData> {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    std::mem::take(&mut ended.0.lock().unwrap())
}

fn request(parent: Option<&str>) -> Request<()> {
    let mut request = Request::post("/a.B/C").header("x", "y");
    if let Some(parent) = parent {
        request = request.header("traceparent", parent).header("tracestate", "v=1");
    }
    request.body(()).unwrap()
}

fn header(request: &Request<()>) -> &str {
    request.headers().get("traceparent").unwrap().to_str().unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
    Some(found.value.as_str().into_owned())
}

#[test]
fn each_span_is_the_child_of_what_the_metadata_names() {
    let spans = traced(|| {
        let mut request = request(Some(PARENT));
        let server = CallSpan::server(&mut request, true);
        assert_eq!(header(&request)[..35], PARENT[..35]);
        assert_ne!(header(&request), PARENT);
        let call = CallSpan::call(&mut request, true, "demo");
        let attempt = CallSpan::attempt(&mut request, true, "demo", "demo-0");
        assert_eq!(request.headers()["tracestate"], "v=1");
        attempt.ends_with(Code::Unavailable);
        call.ends_with(Code::NotFound);
        server.ends_with(Code::NotFound);
    });
    let find = |name: &str, kind| {
        let found = spans.iter().find(|span| span.name == name && span.span_kind == kind);
        found.unwrap_or_else(|| panic!("no {name} among {spans:#?}"))
    };
    let server = find("a.B/C", SpanKind::Server);
    let call = find("a.B/C", SpanKind::Client);
    let attempt = find("attempt a.B/C", SpanKind::Client);
    assert_eq!(server.parent_span_id.to_string(), PARENT[36..52]);
    assert_eq!(call.parent_span_id, server.span_context.span_id());
    assert_eq!(attempt.parent_span_id, call.span_context.span_id());
    assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == PARENT[3..35]));
    for (span, code, is_error) in
        [(server, "NOT_FOUND", false), (call, "NOT_FOUND", true), (attempt, "UNAVAILABLE", true)]
    {
        assert_eq!(attribute(span, "rpc.system.name").unwrap(), "grpc");
        assert_eq!(attribute(span, "rpc.method").unwrap(), "a.B/C");
        assert_eq!(attribute(span, "rpc.response.status_code").unwrap(), code);
        assert_eq!(attribute(span, "error.type").as_deref(), is_error.then_some(code), "{}", span.name);
        assert_eq!(matches!(span.status, Status::Error { .. }), is_error, "{}", span.name);
    }
    assert_eq!(attribute(attempt, "plugmesh.instance").unwrap(), "demo-0");
    assert_eq!(attribute(call, "plugmesh.plugin").unwrap(), "demo");
}

#[test]
fn a_call_without_metadata_belongs_to_the_span_of_the_program() {
    let spans = traced(|| {
        let app = tracing::info_span!("app").entered();
        let mut request = request(None);
        drop(CallSpan::call(&mut request, true, "demo"));
        assert_eq!(header(&request).len(), PARENT.len());
        drop(app);
    });
    let [call, app] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((call.parent_span_id, &*app.name), (app.span_context.span_id(), "app"));
}

#[test]
fn what_callers_make_up_is_no_name_of_a_span() {
    let spans = traced(|| drop(CallSpan::server(&mut request(Some("nonsense")), false)));
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(span.name, "_OTHER");
    assert_eq!(attribute(span, "rpc.method").unwrap(), "_OTHER");
    assert_eq!(attribute(span, "rpc.method_original").unwrap(), "/a.B/C");
}

#[test]
fn without_a_layer_of_opentelemetry_metadata_passes_as_it_came() {
    let sent = || {
        let mut request = request(Some(PARENT));
        let span = CallSpan::server(&mut request, true);
        span.ends_with(Code::Internal);
        assert_eq!(
            (header(&request), &request.headers()["tracestate"]),
            (PARENT, &HeaderValue::from_static("v=1"))
        );
    };
    sent();
    tracing::subscriber::with_default(tracing_subscriber::registry(), sent);
    let filter = tracing_subscriber::EnvFilter::new("debug");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(filter), || {
        sent();
        assert!(CallSpan::server(&mut request(None), true).0.is_none(), "log filters leave it off");
    });
    assert_eq!(size_of::<CallSpan>(), size_of::<usize>());
}
