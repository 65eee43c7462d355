//! `ProbeService`.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugmesh_sdk::plugmesh::env;
use plugmesh_sdk::{Call, Context};
use plugmesh_tests::probe::probe_service_server::{self, ProbeService};
use plugmesh_tests::probe::*;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::KeyAndValueRef;
use tonic::{Code, Request, Response, Status, Streaming};

use super::ending::Endings;

/// The service; clones share what they know.
#[derive(Clone)]
pub(crate) struct Probe {
    context: Context,
    endings: Endings,
    delay_ms: Arc<AtomicU32>,
    failures: Arc<Mutex<Failures>>,
}

impl Probe {
    pub(crate) fn new(context: Context) -> Self {
        let (delay_ms, failures) = (Arc::new(AtomicU32::new(configured_delay())), Arc::default());
        Self { context, endings: Endings::default(), delay_ms, failures }
    }

    /// Whether the next call fails before it begins.
    fn fail(&self) -> Result<(), Status> {
        let mut failures = self.failures.lock().unwrap();
        let Some(left) = failures.times.checked_sub(1) else { return Ok(()) };
        failures.times = left;
        let mut status = Status::new(Code::from_i32(failures.code), "as told");
        if !failures.pushback.is_empty() {
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", failures.pushback.parse().map_err(invalid)?);
        }
        Err(status)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ProbeService for Probe {
    type ProduceStream = Answers<ProduceResponse>;
    type ConverseStream = Answers<ConverseResponse>;

    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.fail()?;
        let left = Call::of(&request).deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let headers = request.metadata().iter().map(header).collect();
        let extra = request.metadata().clone();
        let asked = request.into_inner();
        let running = self.endings.begin(asked.key);
        let delay = asked.delay_ms.max(self.delay_ms.load(Ordering::Relaxed));
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay.into())).await;
        }
        running.done();
        if asked.code != 0 {
            let mut status = Status::new(Code::from_i32(asked.code), asked.message);
            status.metadata_mut().insert("probe-trailer", "from the plugin".parse().map_err(invalid)?);
            return Err(status);
        }
        let payload = if asked.payload.is_empty() { zeros(asked.answer_bytes) } else { asked.payload };
        let mut response = Response::new(EchoResponse {
            payload,
            instance: variable(env::INSTANCE),
            instance_id: variable(env::INSTANCE_ID),
            pid: std::process::id().into(),
            headers,
            deadline_ms: left.map_or(0, |left| left.as_millis().try_into().unwrap_or(u64::MAX)),
        });
        // What a service adds to its answers must pass, too.
        for name in ["traceparent", "x-probe"] {
            if let Some(value) = extra.get(name) {
                response.metadata_mut().insert(name, value.clone());
            }
        }
        if let Some(value) = extra.get_bin("x-probe-bin") {
            response.metadata_mut().insert_bin("x-probe-bin", value.clone());
        }
        Ok(response)
    }

    async fn produce(
        &self,
        request: Request<ProduceRequest>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let asked = request.into_inner();
        let running = self.endings.begin(asked.key);
        let payload = zeros(asked.size);
        let pause = Duration::from_millis(asked.interval_ms.into());
        let messages = futures_util::stream::unfold((0, Some(running)), move |(index, running)| {
            let payload = payload.clone();
            async move {
                let running = running?;
                if index == asked.count {
                    running.done();
                    let status = Status::new(Code::from_i32(asked.code), "as asked");
                    return (asked.code != 0).then_some((Err(status), (index, None)));
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                Some((Ok(ProduceResponse { index, payload }), (index + 1, Some(running))))
            }
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<ConsumeResponse>, Status> {
        let mut messages = request.into_inner();
        let mut total = ConsumeResponse::default();
        let mut running = None;
        while let Some(message) = messages.message().await? {
            running.get_or_insert_with(|| self.endings.begin(message.key));
            total.messages += 1;
            total.bytes += message.payload.len() as u64;
        }
        running.into_iter().for_each(super::ending::Running::done);
        Ok(Response::new(total))
    }

    async fn converse(
        &self,
        request: Request<Streaming<ConverseRequest>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let mut running = Some(self.endings.begin("converse"));
        let mut messages = request.into_inner();
        let answers = futures_util::stream::poll_fn(move |context| {
            let next = Pin::new(&mut messages).poll_next(context);
            if let std::task::Poll::Ready(None) = next {
                running.take().into_iter().for_each(super::ending::Running::done);
            }
            next
        });
        let answers = answers.map(|message| Ok(ConverseResponse { payload: message?.payload }));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn control(&self, request: Request<ControlRequest>) -> Result<Response<ControlResponse>, Status> {
        let asked = request.into_inner();
        if !asked.stderr.is_empty() {
            complain(&asked.stderr);
        }
        if let Some(serving) = asked.serving {
            self.context.set_serving(probe_service_server::SERVICE_NAME, serving);
            self.context.set_serving("", serving);
        }
        if let Some(delay_ms) = asked.delay_ms {
            self.delay_ms.store(delay_ms, Ordering::Relaxed);
        }
        if let Some(failures) = asked.failures {
            *self.failures.lock().unwrap() = failures;
        }
        if let Some(code) = asked.exit {
            exit(code);
        }
        if asked.abort {
            std::process::abort();
        }
        if asked.panic {
            panic_now();
        }
        Ok(Response::new(ControlResponse {}))
    }

    async fn r#await(&self, request: Request<AwaitRequest>) -> Result<Response<AwaitResponse>, Status> {
        let ending = request.get_ref().ending();
        let AwaitRequest { key, count, .. } = request.into_inner();
        let count = self.endings.wait(key, ending, count.max(1)).await;
        Ok(Response::new(AwaitResponse { count }))
    }

    async fn relay(&self, request: Request<RelayRequest>) -> Result<Response<RelayResponse>, Status> {
        super::relay::relay(&self.context, request.into_inner()).await.map(Response::new)
    }
}

fn header(entry: KeyAndValueRef<'_>) -> Header {
    match entry {
        KeyAndValueRef::Ascii(name, value) => {
            Header { name: name.as_str().into(), value: Bytes::copy_from_slice(value.as_encoded_bytes()) }
        }
        KeyAndValueRef::Binary(name, value) => {
            Header { name: name.as_str().into(), value: value.to_bytes().unwrap_or_default() }
        }
    }
}

fn zeros(count: u32) -> Bytes {
    vec![0; count as usize].into()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// `PROBE_SLOW=ORDINAL:MS`, when this is the instance of that ordinal.
fn configured_delay() -> u32 {
    let slow = variable("PROBE_SLOW");
    let instance = variable(env::INSTANCE);
    let delay = slow.split_once(':').filter(|(ordinal, _)| instance.ends_with(&format!("-{ordinal}")));
    delay.and_then(|(_, ms)| ms.parse().ok()).unwrap_or_default()
}

#[allow(clippy::print_stderr, reason = "a test asked for it")]
fn complain(line: &str) {
    eprintln!("{line}");
}

#[allow(clippy::disallowed_methods, reason = "a test asks how the host takes it")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

#[allow(clippy::panic, reason = "a test asks how the host takes it")]
fn panic_now() {
    panic!("a test asked for it")
}
