//! `grpc.testing.TestService`.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use plugmesh_tests::interop::grpc::testing::test_service_server::TestService;
use plugmesh_tests::interop::grpc::testing::*;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use super::load::{Load, PER_CALL, report};

/// Largest answer that a client may ask for, in bytes.
const MAX_ANSWER: i32 = 16 << 20;

/// The service.
pub(crate) struct Interop {
    load: Load,
}

impl Interop {
    pub(crate) fn new(load: Load) -> Self {
        Self { load }
    }
}

type Answer = Result<StreamingOutputCallResponse, Status>;
type Answers = Pin<Box<dyn Stream<Item = Answer> + Send>>;

#[tonic::async_trait]
impl TestService for Interop {
    type StreamingOutputCallStream = Answers;
    type FullDuplexCallStream = Answers;

    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        let asked = request.into_inner();
        status(asked.response_status)?;
        let server_id =
            if asked.fill_server_id { format!("process {}", std::process::id()) } else { String::new() };
        let payload = Some(payload(asked.response_size)?);
        let mut response = Response::new(SimpleResponse { payload, server_id });
        if let Some(asked) = asked.orca_per_query_report {
            let value = MetadataValue::from_bytes(&report(asked).encode_to_vec());
            response.metadata_mut().insert_bin(PER_CALL, value);
        }
        Ok(response)
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(error) = answer(request.into_inner(), &answers).await {
                let _ = answers.send(Err(error)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut requests = request.into_inner();
        let mut total = 0;
        while let Some(request) = requests.next().await.transpose()? {
            total += request.payload.unwrap_or_default().body.len();
        }
        let aggregated_payload_size = total.try_into().map_err(|_| Status::out_of_range("too much"))?;
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let load = self.load.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(request.into_inner(), &load, &answers).await {
                let _ = answers.send(Err(error)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Ends with the conversation, or when nobody listens any more.
async fn converse(
    mut requests: Streaming<StreamingOutputCallRequest>,
    load: &Load,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    while let Some(mut request) = requests.next().await.transpose()? {
        status(request.response_status.take())?;
        request.orca_oob_report.take().into_iter().for_each(|report| load.set(report));
        answer(request, answers).await?;
    }
    Ok(())
}

async fn answer(asked: StreamingOutputCallRequest, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
    for wanted in asked.response_parameters {
        tokio::time::sleep(Duration::from_micros(wanted.interval_us.try_into().unwrap_or(0))).await;
        let answer = StreamingOutputCallResponse { payload: Some(payload(wanted.size)?) };
        answers.send(Ok(answer)).await.map_err(|_| Status::cancelled("the caller is gone"))?;
    }
    status(asked.response_status)
}

fn payload(size: i32) -> Result<Payload, Status> {
    match size {
        0..=MAX_ANSWER => Ok(Payload { body: Bytes::from(vec![0; size as usize]) }),
        _ => Err(Status::invalid_argument(format!("a payload of {size} bytes"))),
    }
}

/// Fails when the client asked for a failure.
fn status(asked: Option<EchoStatus>) -> Result<(), Status> {
    match asked {
        Some(asked) if asked.code != 0 => Err(Status::new(Code::from_i32(asked.code), asked.message)),
        _ => Ok(()),
    }
}
