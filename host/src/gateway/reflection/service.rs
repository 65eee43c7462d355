//! The two wire versions, which differ in nothing but their package.

use std::pin::Pin;

use futures_util::stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::{v1, v1alpha};

use super::answer::{Answer, Question, answer};
use super::catalog::Catalog;
use crate::gateway::Target;
use crate::name::PluginName;

/// The service.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Reflection {
    catalog: Catalog,
    stop: CancellationToken,
}

impl Reflection {
    pub(in crate::gateway) fn new(catalog: Catalog, stop: CancellationToken) -> Self {
        Self { catalog, stop }
    }

    pub(in crate::gateway) fn into_v1(self) -> v1::server_reflection_server::ServerReflectionServer<Self> {
        v1::server_reflection_server::ServerReflectionServer::new(self)
    }

    pub(in crate::gateway) fn into_v1alpha(
        self,
    ) -> v1alpha::server_reflection_server::ServerReflectionServer<Self> {
        v1alpha::server_reflection_server::ServerReflectionServer::new(self)
    }

    /// The plugin that the caller asks about, if it is there.
    fn scope<T>(&self, request: &Request<T>) -> Result<Option<PluginName>, Status> {
        let plugin = request.extensions().get::<Target>().and_then(|target| target.plugin.clone());
        match plugin {
            Some(name) if self.catalog.view(Some(&name)).is_none() => {
                Err(Status::not_found(format!("no plugin {name}")))
            }
            plugin => Ok(plugin),
        }
    }

    /// Looks anew for each question: plugins come and go during a stream.
    fn ask(&self, question: Question, plugin: Option<&PluginName>) -> Answer {
        match self.catalog.view(plugin) {
            Some(view) => answer(question, &view),
            None => Answer::Error { code: tonic::Code::NotFound, message: "the plugin is gone".into() },
        }
    }
}

macro_rules! serve_version {
    ($version:ident) => {
        #[tonic::async_trait]
        impl $version::server_reflection_server::ServerReflection for Reflection {
            type ServerReflectionInfoStream =
                Pin<Box<dyn Stream<Item = Result<$version::ServerReflectionResponse, Status>> + Send>>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$version::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                use $version::server_reflection_request::MessageRequest as Asked;
                use $version::server_reflection_response::MessageResponse as Told;

                let plugin = self.scope(&request)?;
                let this = self.clone();
                let answers = request.into_inner().map(move |request| {
                    let request = request?;
                    let question = match request.message_request.clone() {
                        Some(Asked::FileByFilename(name)) => Question::File(name),
                        Some(Asked::FileContainingSymbol(name)) => Question::Symbol(name),
                        Some(Asked::FileContainingExtension(asked)) => Question::Extension {
                            extended: asked.containing_type,
                            number: asked.extension_number,
                        },
                        Some(Asked::AllExtensionNumbersOfType(name)) => Question::ExtensionNumbers(name),
                        Some(Asked::ListServices(_)) => Question::Services,
                        None => return Err(Status::invalid_argument("the request asks nothing")),
                    };
                    let told = match this.ask(question, plugin.as_ref()) {
                        Answer::Files(files) => {
                            Told::FileDescriptorResponse($version::FileDescriptorResponse {
                                file_descriptor_proto: files.into_iter().map(Into::into).collect(),
                            })
                        }
                        Answer::ExtensionNumbers { extended, numbers } => {
                            Told::AllExtensionNumbersResponse($version::ExtensionNumberResponse {
                                base_type_name: extended,
                                extension_number: numbers,
                            })
                        }
                        Answer::Services(names) => {
                            Told::ListServicesResponse($version::ListServiceResponse {
                                service: names
                                    .into_iter()
                                    .map(|name| $version::ServiceResponse { name })
                                    .collect(),
                            })
                        }
                        Answer::Error { code, message } => Told::ErrorResponse($version::ErrorResponse {
                            error_code: code as i32,
                            error_message: message,
                        }),
                    };
                    Ok($version::ServerReflectionResponse {
                        valid_host: request.host.clone(),
                        original_request: Some(request),
                        message_response: Some(told),
                    })
                });
                // Tools keep the stream open, so shutdown must not wait for it.
                let answers = answers.take_until(self.stop.clone().cancelled_owned());
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

serve_version!(v1);
serve_version!(v1alpha);
