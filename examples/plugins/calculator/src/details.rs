//! Error details: what `google.rpc.Status` and `google.rpc.BadRequest` say on the wire, in the few messages
//! that this plugin needs of them.

use prost::Message;
use tonic::{Code, Status};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// The code, the same as the call's.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The message, the same as the call's.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Messages of any type that say more.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<prost_types::Any>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct BadRequest {
    /// What is wrong, a field each.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Message)]
pub struct FieldViolation {
    /// Path of the field in the request.
    #[prost(string, tag = "1")]
    pub field: String,
    /// Why its value is bad.
    #[prost(string, tag = "2")]
    pub description: String,
}

impl BadRequest {
    /// The type's name in a `google.protobuf.Any`.
    pub const TYPE_URL: &str = "type.googleapis.com/google.rpc.BadRequest";
}

/// `INVALID_ARGUMENT` whose details name `field`.
pub fn invalid_field(field: &str, description: &str) -> Status {
    let message = format!("{field}: {description}");
    let violation = FieldViolation { field: field.into(), description: description.into() };
    let bad_request = BadRequest { field_violations: vec![violation] };
    let detail =
        prost_types::Any { type_url: BadRequest::TYPE_URL.into(), value: bad_request.encode_to_vec() };
    let code = Code::InvalidArgument;
    let status = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
    Status::with_details(code, message, status.encode_to_vec().into())
}
