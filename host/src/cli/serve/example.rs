//! A call that is worth showing: one that works, with a request that says something.

use std::sync::Arc;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value};
use prost_types::FileDescriptorProto;

use crate::cli::call::example;
use crate::cli::json::Mapped;
use crate::instance::Description;
use crate::supervise::{Board, PluginStatus};

/// A method of a running plugin that takes and gives one message, and a request for it as JSON. Waits until there is
/// one, or every plugin that serves has described itself.
pub(super) async fn example(board: &Board) -> Option<(String, String)> {
    let mut board = board.follow();
    let is_told = |plugin: &&Arc<PluginStatus>| plugin.services.is_empty() || plugin.description.is_some();
    let known = board.wait_for(|plugins| plugins.values().all(|plugin| is_told(&plugin))).await.ok()?.clone();
    known.values().find_map(|plugin| of(plugin.description.as_deref()?, &plugin.services))
}

fn of(description: &Description, services: &[String]) -> Option<(String, String)> {
    let mut pool = DescriptorPool::new();
    // What describes itself badly is no example.
    let files = description.files.values().map(|file| FileDescriptorProto::decode(file.as_slice()));
    pool.add_file_descriptor_protos(files.collect::<Result<Vec<_>, _>>().ok()?).ok()?;
    let mut methods = services
        .iter()
        .filter_map(|service| pool.get_service_by_name(service))
        .flat_map(|service| service.methods().collect::<Vec<_>>());
    let is_unary = |method: &MethodDescriptor| !method.is_client_streaming() && !method.is_server_streaming();
    let method = methods.find(is_unary)?;
    let request = serde_json::to_value(Mapped(&request(&method.input()))).ok()?;
    Some((format!("{}/{}", method.parent_service().full_name(), method.name()), in_line(&request)))
}

/// JSON as a person types it.
fn in_line(value: &serde_json::Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        serde_json::Value::Object(members) => {
            let member = |(name, value): (&String, _)| format!("\"{name}\": {}", in_line(value));
            format!("{{{}}}", list(members.iter().map(member).collect()))
        }
        serde_json::Value::Array(items) => format!("[{}]", list(items.iter().map(in_line).collect())),
        serde_json::Value::Number(number) => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

/// Numbers count from 1, texts say hello.
fn request(message: &MessageDescriptor) -> DynamicMessage {
    let mut request = example::of(message);
    for (number, field) in (1..).zip(message.fields().filter(|field| !field.is_map())) {
        let value = match field.kind() {
            Kind::Double => Value::F64(f64::from(number)),
            Kind::Float => Value::F32(number as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(number)),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number.unsigned_abs()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number.unsigned_abs())),
            Kind::String => Value::String("hello".to_owned()),
            Kind::Bool | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => continue,
        };
        // Of a choice only the first member is there.
        if request.has_field(&field) || field.containing_oneof().is_none() {
            let value = if field.is_list() { Value::List(vec![value]) } else { value };
            request.set_field(&field, value);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use plugmesh::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn the_first_method_that_is_easy_to_call() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let files = set.file.iter().map(|file| (file.name().to_owned(), file.encode_to_vec())).collect();
        let description = Description { services: Vec::new(), files };
        let service = "plugmesh.admin.v1.AdminService".to_owned();
        let (method, request) = of(&description, &["absent.v1.Service".to_owned(), service]).unwrap();
        assert_eq!((method.as_str(), request.as_str()), ("plugmesh.admin.v1.AdminService/GetHost", "{}"));
    }

    #[test]
    fn a_request_says_something() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let request = request(&pool.get_message_by_name("plugmesh.admin.v1.TailLogsRequest").unwrap());
        let request = serde_json::to_value(Mapped(&request)).unwrap();
        assert_eq!(in_line(&request), r#"{"follow": false, "lines": 2, "name": "hello"}"#);
        assert_eq!(in_line(&serde_json::json!({"a": 1.0, "b": [0.5, "x"]})), r#"{"a": 1, "b": [0.5, "x"]}"#);
    }
}
