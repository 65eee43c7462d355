//! Server reflection, built when somebody first asks: decoding descriptors takes longer than starting.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic_reflection::pb;
use tonic_reflection::server::{Builder, Error};

use crate::service::{Boxed, Erased};

/// Which of the two versions of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    V1,
    V1Alpha,
}

/// Descriptors of what this plugin serves.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    pub(crate) sets: Vec<&'static [u8]>,
    pub(crate) services: Vec<String>,
}

/// One version of reflection.
#[derive(Clone)]
pub(crate) struct Reflection {
    version: Version,
    descriptors: Arc<Descriptors>,
    built: Arc<OnceLock<Result<Boxed, String>>>,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::V1, Self::V1Alpha];

    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::V1 => "grpc.reflection.v1.ServerReflection",
            Self::V1Alpha => "grpc.reflection.v1alpha.ServerReflection",
        }
    }
}

impl Reflection {
    pub(crate) fn new(version: Version, descriptors: Arc<Descriptors>) -> Self {
        Self { version, descriptors, built: Arc::default() }
    }

    fn build(&self) -> Result<Boxed, Error> {
        let mut builder = Builder::configure()
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(plugmesh::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(pb::v1alpha::FILE_DESCRIPTOR_SET);
        for set in &self.descriptors.sets {
            builder = builder.register_encoded_file_descriptor_set(set);
        }
        // By name: the sets describe more than is served here.
        for service in &self.descriptors.services {
            builder = builder.with_service_name(service);
        }
        Ok(match self.version {
            Version::V1 => Boxed::new(builder.build_v1()?),
            Version::V1Alpha => Boxed::new(builder.build_v1alpha()?),
        })
    }
}

impl tower_service::Service<Request<Body>> for Reflection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let built = self.built.get_or_init(|| {
            self.build().map_err(|error| {
                tracing::error!(%error, "reflection has no use for the descriptors");
                error.to_string()
            })
        });
        match built {
            Ok(service) => service.answer(request),
            Err(reason) => {
                let status = Status::internal(format!("the plugin's descriptors cannot be read: {reason}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
