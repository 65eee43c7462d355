//! A plugin's own configuration: JSON that must not be printed.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::decode::{Decoder, Segment, expanded};
use super::yaml::{Data, Node, Scalar};

/// A plugin's configuration. It may hold secrets, so its `Debug` shows keys and kinds, never values.
#[derive(Clone, PartialEq)]
pub struct JsonConfig(Value);

impl JsonConfig {
    /// Wraps a value.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// The value; for schema checks and for the plugin.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The value as JSON text.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// Lays `over` on top as a JSON merge patch (RFC 7396): objects merge key by key, null removes a key,
    /// everything else replaces.
    #[must_use]
    pub fn patched(mut self, over: &Self) -> Self {
        patch(&mut self.0, &over.0);
        self
    }
}

/// An empty object.
impl Default for JsonConfig {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

impl fmt::Debug for JsonConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(&self.0).fmt(f)
    }
}

struct Redacted<'v>(&'v Value);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Object(entries) => {
                f.debug_map().entries(entries.iter().map(|(key, value)| (key, Redacted(value)))).finish()
            }
            Value::Array(items) => f.debug_list().entries(items.iter().map(Redacted)).finish(),
            Value::Null => f.write_str("null"),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => f.write_str("…"),
        }
    }
}

fn patch(value: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *value = over.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(entries) = value else { return };
    for (key, over) in over {
        if over.is_null() {
            entries.remove(key);
        } else {
            patch(entries.entry(key.clone()).or_insert(Value::Null), over);
        }
    }
}

/// Any YAML as JSON: integers stay integers, references in texts are resolved.
pub(super) fn json(d: &mut Decoder<'_>, node: &Node) -> Option<JsonConfig> {
    value(d, node).map(JsonConfig)
}

/// Recursion is bounded by the depth of the tree.
fn value(d: &mut Decoder<'_>, node: &Node) -> Option<Value> {
    match &node.data {
        Data::Scalar(text, scalar) => self::scalar(d, node, text, *scalar),
        Data::List(items) => {
            let items: Vec<Option<Value>> = items
                .iter()
                .enumerate()
                .map(|(index, item)| d.below(Segment::Index(index), |d| value(d, item)))
                .collect();
            items.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
        }
        Data::Map(entries) => {
            let entries: Vec<Option<(String, Value)>> = entries
                .iter()
                .map(|(key, node)| {
                    let value = d.below(Segment::Key(key.text.clone()), |d| value(d, node));
                    value.map(|value| (key.text.clone(), value))
                })
                .collect();
            entries.into_iter().collect::<Option<Map<String, Value>>>().map(Value::Object)
        }
    }
}

fn scalar(d: &mut Decoder<'_>, node: &Node, text: &str, scalar: Scalar) -> Option<Value> {
    match scalar {
        Scalar::Null => Some(Value::Null),
        Scalar::Bool(value) => Some(Value::Bool(value)),
        Scalar::Int(value) => {
            let number =
                u64::try_from(value).map(Number::from).or_else(|_| i64::try_from(value).map(Number::from));
            match number {
                Ok(number) => Some(Value::Number(number)),
                Err(_) => {
                    d.refuse_with(node, "an integer beyond 64 bits", "put it in quotes to pass it as text")
                }
            }
        }
        Scalar::Float(value) => match Number::from_f64(value) {
            Some(number) => Some(Value::Number(number)),
            None => d.refuse(node, "JSON has no infinity and no NaN"),
        },
        Scalar::Text => expanded(d, node, text).map(Value::String),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_merges_objects_and_replaces_the_rest() {
        let base = JsonConfig::new(json!({"a": {"b": 1, "c": [1, 2]}, "d": "x", "e": 1}));
        let over = JsonConfig::new(json!({"a": {"c": [3]}, "d": null, "e": {"f": null, "g": 2}}));
        assert_eq!(base.patched(&over).value(), &json!({"a": {"b": 1, "c": [3]}, "e": {"g": 2}}));
    }

    #[test]
    fn values_do_not_print() {
        let config = JsonConfig::new(json!({"password": "hunter2", "pins": [4711], "none": null}));
        assert_eq!(format!("{config:?}"), r#"{"none": null, "password": …, "pins": […]}"#);
    }
}
