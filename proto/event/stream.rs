//! Both ends of a stream of frames, whose messages are made and read without a codec.

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::codegen::http::header::{CONTENT_TYPE, TE};
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Uri};

/// Path of `EventBusService.Connect`.
pub const CONNECT: &str = "/plugmesh.event.v1.EventBusService/Connect";

/// Path of `EventSinkService.Attach`.
pub const ATTACH: &str = "/plugmesh.event.v1.EventSinkService/Attach";

/// The request for a stream, with what its client sends.
pub fn request<B>(path: &'static str, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// What a server ends a stream with.
///
/// # Errors
/// The status has metadata that cannot be sent.
pub fn end(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
