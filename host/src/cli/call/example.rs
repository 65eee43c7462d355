//! What a request looks like.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// How deep an example goes: deeper it is no example any more, and a type may contain itself.
const DEPTH: usize = 4;

/// A message with every field set to an empty value, lists to one element, and the first of each choice.
pub(in crate::cli) fn of(message: &MessageDescriptor) -> DynamicMessage {
    build(message, DEPTH)
}

fn build(message: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut example = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let first_of_choice = field
            .containing_oneof()
            .is_none_or(|choice| choice.fields().next().is_some_and(|first| first == field));
        if !first_of_choice || field.is_map() {
            continue;
        }
        if let Some(value) = value(&field, depth) {
            let value = if field.is_list() { Value::List(vec![value]) } else { value };
            example.set_field(&field, value);
        }
    }
    example
}

fn value(field: &FieldDescriptor, depth: usize) -> Option<Value> {
    let Kind::Message(inner) = field.kind() else { return Some(Value::default_value(&field.kind())) };
    match inner.full_name() {
        // Any JSON fits here, so there is no example of it.
        "google.protobuf.Any" | "google.protobuf.Value" | "google.protobuf.Struct" => None,
        name if name.starts_with("google.protobuf.") => Some(Value::Message(DynamicMessage::new(inner))),
        _ if depth == 0 => None,
        _ => Some(Value::Message(build(&inner, depth - 1))),
    }
}
