//! What an instance offers, by server reflection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorProto, MethodDescriptorProto};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};

use super::{is_control_service, is_service_name, words};
use crate::config::Idempotency;
use crate::route::{Endpoint, MethodInfo, ServiceInfo};

/// Services of one plugin at most.
const MAX_SERVICES: usize = 1024;

/// Methods of one service at most that are known by name: each has a policy of its own. Calls to others are calls to the service.
const MAX_METHODS: usize = 1024;

/// Files of one plugin at most: large API surfaces have some hundreds.
const MAX_FILES: usize = 4096;

/// Bytes of all descriptors of one plugin at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an instance offers.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Services that calls may be routed to.
    pub services: Vec<String>,
    /// Encoded `FileDescriptorProto`s that define them, by file name, dependencies included. Kept as they
    /// came, so that options nobody here knows survive.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Description {
    /// The services with what their descriptors say of their methods. A service whose descriptor is missing has none.
    pub fn service_infos(&self) -> Vec<ServiceInfo> {
        let mut infos: BTreeMap<&str, Vec<MethodInfo>> =
            self.services.iter().map(|service| (service.as_str(), Vec::new())).collect();
        for file in self.files.values() {
            // Whoever looks at the descriptors themselves says what is wrong with them.
            let Ok(file) = FileDescriptorProto::decode(file.as_slice()) else { continue };
            for service in &file.service {
                let name = match file.package() {
                    "" => service.name().to_owned(),
                    package => format!("{package}.{}", service.name()),
                };
                if let Some(methods) = infos.get_mut(name.as_str()) {
                    *methods = service.method.iter().take(MAX_METHODS).map(method_info).collect();
                }
            }
        }
        infos.into_iter().map(|(name, methods)| ServiceInfo { name: name.to_owned(), methods }).collect()
    }
}

fn method_info(method: &MethodDescriptorProto) -> MethodInfo {
    let level = method.options.as_ref().map(|options| options.idempotency_level());
    MethodInfo {
        name: method.name().to_owned(),
        idempotency: match level {
            Some(IdempotencyLevel::Idempotent) => Some(Idempotency::Idempotent),
            Some(IdempotencyLevel::NoSideEffects) => Some(Idempotency::NoSideEffects),
            Some(IdempotencyLevel::IdempotencyUnknown) | None => None,
        },
        streams: method.client_streaming() || method.server_streaming(),
        answer: None,
    }
}

/// Why an instance cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It has no reflection service.
    #[error("it has no server reflection; name its services in the manifest")]
    Absent,
    /// It broke off.
    #[error("server reflection failed: {}", words(.0))]
    Failed(#[source] Box<Status>),
    /// It takes too long.
    #[error("server reflection did not end within {0:?}; name its services in the manifest")]
    Timeout(Duration),
    /// It offers more than fits.
    #[error("it describes more than {0}; name those of its services that are to be called in the manifest")]
    TooMuch(&'static str),
    /// The descriptors are not what they should be.
    #[error(
        "it describes itself with something that is no file descriptor: {0}; name its services in the manifest"
    )]
    Malformed(#[from] prost::DecodeError),
}

/// Asks reflection v1, and v1alpha where there is no v1, for `services`, or for those it lists when that is
/// empty, and for the files that define them.
///
/// # Errors
/// There is no reflection, or its answers are no good.
pub async fn describe(
    endpoint: &Arc<Endpoint>,
    services: &[String],
    within: Duration,
) -> Result<Description, DescribeError> {
    let work = async {
        match walk(&mut V1::new(endpoint), services).await {
            Err(DescribeError::Absent) => walk(&mut V1Alpha::new(endpoint), services).await,
            result => result,
        }
    };
    tokio::time::timeout(within, work).await.map_err(|_| DescribeError::Timeout(within))?
}

/// What is asked of either version.
enum Question {
    List,
    Symbol(String),
    File(String),
}

/// What either version answers.
enum Answer {
    Services(Vec<String>),
    Files(Vec<Vec<u8>>),
    Nothing,
}

trait Reflection {
    /// The answers to `questions`, in their order: all are asked at once, so that a walk costs one round
    /// trip for each depth of imports.
    async fn ask(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Status>;
}

async fn walk(reflection: &mut impl Reflection, services: &[String]) -> Result<Description, DescribeError> {
    let failed = |status: Status| match status.code() {
        Code::Unimplemented => DescribeError::Absent,
        Code::ResourceExhausted | Code::OutOfRange => DescribeError::TooMuch("16 MiB of descriptors"),
        _ => DescribeError::Failed(Box::new(status)),
    };
    let mut found = Description { services: services.to_vec(), ..Description::default() };
    if found.services.is_empty() {
        for answer in reflection.ask(vec![Question::List]).await.map_err(failed)? {
            if let Answer::Services(services) = answer {
                let callable = |name: &String| is_service_name(name) && !is_control_service(name);
                found.services.extend(services.into_iter().filter(callable));
            }
        }
    }
    if found.services.len() > MAX_SERVICES {
        return Err(DescribeError::TooMuch("1024 services"));
    }
    let mut asked = BTreeSet::new();
    let mut questions: Vec<_> = found.services.iter().cloned().map(Question::Symbol).collect();
    while !questions.is_empty() {
        let answers = reflection.ask(questions).await.map_err(failed)?;
        let mut imports = BTreeSet::new();
        for answer in answers {
            if let Answer::Files(files) = answer {
                take(&mut found, files, &mut imports)?;
            }
        }
        imports.retain(|import| !found.files.contains_key(import) && asked.insert(import.clone()));
        questions = imports.into_iter().map(Question::File).collect();
    }
    Ok(found)
}

fn take(
    found: &mut Description,
    files: Vec<Vec<u8>>,
    imports: &mut BTreeSet<String>,
) -> Result<(), DescribeError> {
    for bytes in files {
        let file = FileDescriptorProto::decode(&*bytes)?;
        imports.extend(file.dependency.iter().cloned());
        found.files.insert(file.name().to_owned(), bytes);
    }
    if found.files.len() > MAX_FILES {
        return Err(DescribeError::TooMuch("4096 files"));
    }
    match found.files.values().map(Vec::len).sum::<usize>() > MAX_BYTES {
        true => Err(DescribeError::TooMuch("16 MiB of descriptors")),
        false => Ok(()),
    }
}

/// Both versions are the same but for the package, which the generated types do not show.
macro_rules! reflection {
    ($name:ident, $pb:ident) => {
        struct $name($pb::server_reflection_client::ServerReflectionClient<crate::route::EndpointChannel>);

        impl $name {
            fn new(endpoint: &Arc<Endpoint>) -> Self {
                let client = $pb::server_reflection_client::ServerReflectionClient::new(
                    endpoint.channel_with_limit(MAX_BYTES as u64),
                );
                Self(client.max_decoding_message_size(MAX_BYTES))
            }
        }

        impl Reflection for $name {
            async fn ask(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Status> {
                use $pb::server_reflection_request::MessageRequest;
                use $pb::server_reflection_response::MessageResponse;

                let count = questions.len();
                let requests = questions.into_iter().map(|question| $pb::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(match question {
                        Question::List => MessageRequest::ListServices(String::new()),
                        Question::Symbol(symbol) => MessageRequest::FileContainingSymbol(symbol),
                        Question::File(file) => MessageRequest::FileByFilename(file),
                    }),
                });
                let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
                let stream = self.0.server_reflection_info(requests).await?.into_inner();
                let mut stream = stream.take(count);
                let mut answers = Vec::with_capacity(count);
                while let Some(response) = stream.next().await {
                    answers.push(match response?.message_response {
                        Some(MessageResponse::ListServicesResponse(list)) => {
                            Answer::Services(list.service.into_iter().map(|service| service.name).collect())
                        }
                        Some(MessageResponse::FileDescriptorResponse(files)) => {
                            Answer::Files(files.file_descriptor_proto)
                        }
                        _ => Answer::Nothing,
                    });
                }
                Ok(answers)
            }
        }
    };
}

reflection!(V1, v1);
reflection!(V1Alpha, v1alpha);
