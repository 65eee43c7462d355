//! What is given in place of an answer when a plugin has no instance for a call.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use plugmesh::metadata;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::body::CallBody;
use super::errand::Errand;
use super::error::is_absence;
use super::{Channel, RouteError};
use crate::code::GRPC_STATUS;
use crate::config::Fallback;
use crate::name::PluginName;

static FALLBACK: HeaderName = HeaderName::from_static(metadata::FALLBACK);

/// The fallback of a method.
#[derive(Debug)]
pub(super) struct Substitute {
    /// Another plugin with the service.
    plugin: Option<PluginName>,
    /// A body of one message.
    answer: Option<Bytes>,
}

/// Why the other plugin gives no answer.
enum NoAnswer {
    /// Nothing was sent there.
    NotAsked(Status),
    /// One of its instances failed, and that is what becomes of the call.
    Failed(Status),
}

impl Substitute {
    /// The fallback of a method of `plugin`; `answer` is the response message. `None` when there is none.
    pub(super) fn of(plugin: &PluginName, said: &Fallback, answer: Option<&Bytes>) -> Option<Self> {
        // Said for every plugin of a host, it may name this one as well.
        let other = said.plugin.clone().filter(|other| other != plugin);
        let answer = answer.filter(|_| said.answer.is_some()).map(framed);
        (other.is_some() || answer.is_some()).then_some(Self { plugin: other, answer })
    }

    pub(super) fn has_plugin(&self) -> bool {
        self.plugin.is_some()
    }

    /// The response of the other plugin, or else the fixed answer. Where there is neither, the status is `why` there is no
    /// instance, and why the other plugin does not help.
    pub(super) async fn respond(
        &self,
        channel: &Channel,
        errand: &Arc<Errand<tonic::body::Body>>,
        mut why: Status,
    ) -> Result<Response<CallBody>, Status> {
        if let Some(plugin) = &self.plugin {
            match ask(channel, errand, plugin).await {
                Ok(mut response) => {
                    if let Ok(name) = HeaderValue::from_str(plugin.as_str()) {
                        response.headers_mut().insert(FALLBACK.clone(), name);
                    }
                    return Ok(response);
                }
                Err(NoAnswer::Failed(mut status)) => {
                    if let Ok(name) = MetadataValue::try_from(plugin.as_str()) {
                        status.metadata_mut().insert(metadata::FALLBACK, name);
                    }
                    return Err(status);
                }
                Err(NoAnswer::NotAsked(reason)) => {
                    let message =
                        format!("{}; nor is its fallback of help: {}", why.message(), reason.message());
                    let details = Bytes::copy_from_slice(why.details());
                    why = Status::with_details_and_metadata(
                        why.code(),
                        message,
                        details,
                        why.metadata().clone(),
                    );
                }
            }
        }
        self.answer.clone().map(fixed).ok_or(why)
    }
}

/// Has `plugin` do what is to be done. Its own fallback is not asked.
async fn ask(
    channel: &Channel,
    errand: &Arc<Errand<tonic::body::Body>>,
    plugin: &PluginName,
) -> Result<Response<CallBody>, NoAnswer> {
    let not_asked = |error: RouteError| NoAnswer::NotAsked(error.into());
    let request = errand
        .again(0)
        .ok_or_else(|| NoAnswer::NotAsked(Status::unavailable("the request was not kept whole for it")))?;
    let method = channel.router().find(request.uri().path(), Some(plugin.as_str())).map_err(not_asked)?;
    // One type for all bodies: what stands in for a call of a call has no end.
    let request = request.map(tonic::body::Body::new);
    let mut attempts = channel.call_only(method, request).map_err(not_asked)?;
    attempts.settle().await;
    attempts.conclude().map_err(|status| match is_absence(&status) {
        true => NoAnswer::NotAsked(status),
        false => NoAnswer::Failed(status),
    })
}

/// `message` as a body that is not compressed.
fn framed(message: &Bytes) -> Bytes {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    // Whoever encodes it keeps it far smaller.
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.extend_from_slice(message);
    body.freeze()
}

fn fixed(body: Bytes) -> Response<CallBody> {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS.clone(), HeaderValue::from_static("0"));
    let mut response = Response::new(CallBody::kept(body, trailers));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let name = HeaderValue::from_static(metadata::FALLBACK_ANSWER);
    response.headers_mut().insert(FALLBACK.clone(), name);
    response
}
