//! Descriptors, from the gateway's reflection.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ErrorResponse, ServerReflectionRequest, ServerReflectionResponse};

use super::CallError;
use super::target::Target;
use crate::cli::connect::Host;
use crate::closest::closest;

/// The versions of reflection, newest first. Their messages are the same bytes.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Most files that one method may need: the largest public API has some hundreds.
const MAX_FILES: usize = 4096;

/// Largest answer with descriptors that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Reflection of one gateway, or of one plugin behind it.
#[derive(Debug)]
pub(super) struct Reflection {
    channel: Channel,
    metadata: MetadataMap,
    address: String,
    stream: Option<Exchange>,
}

/// An open reflection stream: one question, one answer.
#[derive(Debug)]
struct Exchange {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

/// `google.protobuf.FileDescriptorSet` with its files left encoded, so that options of types that this
/// program was not built with survive.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedFiles {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

impl Reflection {
    /// Reflection at `host`, scoped to `plugin` if one is chosen. Nothing is asked yet.
    pub(super) fn new(host: &Host, plugin: Option<&str>) -> Self {
        let mut metadata = MetadataMap::new();
        if let Some(plugin) = plugin.and_then(|name| AsciiMetadataValue::try_from(name).ok()) {
            metadata.insert(plugmesh::metadata::PLUGIN, plugin);
        }
        Self { channel: host.channel.clone(), metadata, address: host.address.to_string(), stream: None }
    }

    /// Finds the method that is meant.
    pub(super) async fn method(&mut self, target: &Target) -> Result<MethodDescriptor, CallError> {
        let (service, pool) = match self.files_of(&target.service).await? {
            Some(pool) => (target.service.clone(), pool),
            None => {
                let service = self.guess(&target.service).await?;
                let pool = self.files_of(&service).await?.ok_or_else(|| CallError::Descriptors {
                    what: service.clone(),
                    reason: "the host lists it but does not describe it".to_owned(),
                })?;
                (service, pool)
            }
        };
        let Some(descriptor) = pool.get_service_by_name(&service) else {
            let reason = "the descriptors that came are not about it".to_owned();
            return Err(CallError::Descriptors { what: service, reason });
        };
        if let Some(method) = descriptor.methods().find(|method| method.name() == target.method) {
            return Ok(method);
        }
        let known: Vec<_> = descriptor.methods().map(|method| method.name().to_owned()).collect();
        let suggestion = closest(&target.method, known.iter().map(String::as_str)).map(str::to_owned);
        Err(CallError::UnknownMethod { service, method: target.method.clone(), known, suggestion })
    }

    /// The one service that ends in what was typed.
    async fn guess(&mut self, typed: &str) -> Result<String, CallError> {
        let known = self.services().await?;
        let end = format!(".{typed}");
        let mut matches: Vec<_> = known.iter().filter(|name| name.ends_with(&end)).cloned().collect();
        match matches.len() {
            1 => Ok(matches.remove(0)),
            0 => {
                // Also somebody who leaves out the package may mistype.
                let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
                let suggestion =
                    closest(typed, known.iter().map(String::as_str)).map(str::to_owned).or_else(|| {
                        let wanted = last(typed);
                        let short: Vec<_> = known.iter().map(|name| last(name)).collect();
                        let found = closest(&wanted, short.iter().map(String::as_str))?;
                        known.iter().find(|name| last(name) == found).cloned()
                    });
                let address = self.address.clone();
                Err(CallError::UnknownService { service: typed.to_owned(), address, suggestion })
            }
            _ => Err(CallError::Ambiguous { service: typed.to_owned(), matches }),
        }
    }

    /// Every service, in the order of their names.
    async fn services(&mut self) -> Result<Vec<String>, CallError> {
        match self.ask(MessageRequest::ListServices(String::new())).await? {
            MessageResponse::ListServicesResponse(list) => {
                let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
                names.sort_unstable();
                Ok(names)
            }
            MessageResponse::ErrorResponse(error) => Err(self.refused(error.error_code, error.error_message)),
            _ => Err(self.refused(Code::Internal as i32, "an answer to another question".to_owned())),
        }
    }

    /// The file that defines `symbol`, with all that it imports. Nothing when no such symbol is known.
    pub(super) async fn files_of(&mut self, symbol: &str) -> Result<Option<DescriptorPool>, CallError> {
        let mut files = BTreeMap::new();
        let first = self.ask(MessageRequest::FileContainingSymbol(symbol.to_owned())).await?;
        if !self.take(first, symbol, &mut files)? {
            return Ok(None);
        }
        // A server may send the imports along, or wait to be asked.
        while let Some(missing) = first_missing(&files) {
            let answer = self.ask(MessageRequest::FileByFilename(missing.clone())).await?;
            let found = self.take(answer, symbol, &mut files)?;
            if !found || !files.contains_key(&missing) || files.len() > MAX_FILES {
                let reason = format!("{missing:?}, which is imported, is not there");
                return Err(CallError::Descriptors { what: symbol.to_owned(), reason });
            }
        }
        let set = EncodedFiles { file: files.into_values().map(|(encoded, _)| encoded).collect() };
        DescriptorPool::decode(set.encode_to_vec().as_slice())
            .map(Some)
            .map_err(|error| CallError::Descriptors { what: symbol.to_owned(), reason: error.to_string() })
    }

    /// Adds the files of an answer; false when the host knows no such thing.
    fn take(
        &self,
        answer: MessageResponse,
        symbol: &str,
        files: &mut BTreeMap<String, (Bytes, Vec<String>)>,
    ) -> Result<bool, CallError> {
        let encoded = match answer {
            MessageResponse::FileDescriptorResponse(found) => found.file_descriptor_proto,
            MessageResponse::ErrorResponse(error) if error.error_code == Code::NotFound as i32 => {
                return Ok(false);
            }
            MessageResponse::ErrorResponse(error) => {
                return Err(self.refused(error.error_code, error.error_message));
            }
            _ => return Err(self.refused(Code::Internal as i32, "an answer to another question".to_owned())),
        };
        for file in encoded {
            let file = Bytes::from(file);
            let decoded = FileDescriptorProto::decode(file.clone()).map_err(|error| {
                CallError::Descriptors { what: symbol.to_owned(), reason: error.to_string() }
            })?;
            files.insert(decoded.name().to_owned(), (file, decoded.dependency));
        }
        Ok(true)
    }

    async fn ask(&mut self, question: MessageRequest) -> Result<MessageResponse, CallError> {
        let question = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let answer = match &mut self.stream {
            Some(open) => {
                // When the stream is gone, its answers say why.
                let _ = open.questions.send(question).await;
                open.answers.message().await
            }
            None => self.open(question).await,
        };
        match answer {
            Ok(Some(ServerReflectionResponse { message_response: Some(answer), .. })) => Ok(answer),
            Ok(_) => Err(self.refused(Code::Internal as i32, "no answer".to_owned())),
            Err(status) => {
                // The next question needs a stream of its own.
                self.stream = None;
                if status.code() == Code::NotFound {
                    // The protocol has an answer for this, and some servers end the stream instead.
                    let error = ErrorResponse {
                        error_code: Code::NotFound as i32,
                        error_message: status.message().to_owned(),
                    };
                    return Ok(MessageResponse::ErrorResponse(error));
                }
                Err(CallError::Reflection { address: self.address.clone(), status: Box::new(status) })
            }
        }
    }

    /// Opens the stream with its first question, in the newest version that the host speaks.
    async fn open(
        &mut self,
        question: ServerReflectionRequest,
    ) -> Result<Option<ServerReflectionResponse>, Status> {
        let mut refused = Status::unimplemented("no version of reflection is served");
        for path in PATHS {
            match self.open_at(path, question.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(status) if status.code() == Code::Unimplemented => refused = status,
                Err(status) => return Err(status),
            }
        }
        Err(refused)
    }

    async fn open_at(
        &mut self,
        path: &'static str,
        question: ServerReflectionRequest,
    ) -> Result<Option<ServerReflectionResponse>, Status> {
        let (questions, receiver) = mpsc::channel(1);
        // Some servers send no headers before the first answer, so the question must be on its way first.
        let _ = questions.try_send(question);
        let mut request = Request::new(ReceiverStream::new(receiver));
        *request.metadata_mut() = self.metadata.clone();
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = http::uri::PathAndQuery::from_static(path);
        let mut answers = grpc.streaming(request, path, ProstCodec::default()).await?.into_inner();
        let first = answers.message().await?;
        self.stream = Some(Exchange { questions, answers });
        Ok(first)
    }

    fn refused(&self, code: i32, message: String) -> CallError {
        let status = Box::new(Status::new(Code::from_i32(code), message));
        CallError::Reflection { address: self.address.clone(), status }
    }
}

fn first_missing(files: &BTreeMap<String, (Bytes, Vec<String>)>) -> Option<String> {
    files.values().flat_map(|(_, imports)| imports).find(|name| !files.contains_key(*name)).cloned()
}
