//! What came with an error: the messages of the rich error model, as JSON.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use tonic::Status;
use tonic::metadata::BinaryMetadataValue;

use super::reflect::Reflection;
use crate::cli::json::Mapped;

/// Most details that are shown: an error with more is no help.
const MAX_DETAILS: usize = 32;

/// The standard details, for hosts whose plugins do not describe them.
const STANDARD: &str = include_str!("error_details.proto");

/// Its name, as other files would import it.
const STANDARD_NAME: &str = "google/rpc/error_details.proto";

/// One detail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detail {
    /// Full name of its type.
    pub(crate) type_name: String,
    /// Its content; base64 text when the type is not known.
    pub(crate) value: serde_json::Value,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// Decodes the details of `status` with the method's own descriptors, the standard ones, or those that the
/// host has. What cannot be decoded is shown as it came.
pub(super) async fn of(status: &Status, pool: &DescriptorPool, reflection: &mut Reflection) -> Vec<Detail> {
    let Ok(rich) = RpcStatus::decode(status.details()) else { return Vec::new() };
    let mut details = Vec::new();
    for any in rich.details.into_iter().take(MAX_DETAILS) {
        let type_name = any.type_url.rsplit('/').next().unwrap_or_default().to_owned();
        let mut decoded =
            decode(pool, &type_name, &any.value).or_else(|| decode(&standard()?, &type_name, &any.value));
        if decoded.is_none()
            && let Ok(Some(pool)) = reflection.files_of(&type_name).await
        {
            decoded = decode(&pool, &type_name, &any.value);
        }
        let value = decoded.unwrap_or_else(|| {
            let encoded = BinaryMetadataValue::from_bytes(&any.value);
            String::from_utf8_lossy(encoded.as_encoded_bytes()).into_owned().into()
        });
        details.push(Detail { type_name, value });
    }
    details
}

fn decode(pool: &DescriptorPool, type_name: &str, value: &[u8]) -> Option<serde_json::Value> {
    let descriptor = pool.get_message_by_name(type_name)?;
    let message = DynamicMessage::decode(descriptor, value).ok()?;
    serde_json::to_value(Mapped(&message)).ok()
}

/// Compiled only when an error has details.
fn standard() -> Option<DescriptorPool> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Embedded);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.open_file(STANDARD_NAME).ok()?;
    Some(compiler.descriptor_pool())
}

/// Finds the one file that is part of this program.
struct Embedded;

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == STANDARD_NAME {
            File::from_source(name, STANDARD)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_detail_is_decoded() {
        let pool = standard().expect("the embedded file compiles");
        // BadRequest { field_violations: [{ field: "b", description: "zero" }] }
        let encoded = b"\x0a\x09\x0a\x01b\x12\x04zero";
        assert_eq!(
            decode(&pool, "google.rpc.BadRequest", encoded).unwrap(),
            serde_json::json!({ "fieldViolations": [{ "field": "b", "description": "zero" }] })
        );
        assert_eq!(decode(&pool, "google.rpc.Nothing", encoded), None);
    }
}
