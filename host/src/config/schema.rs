//! A plugin's JSON Schema against its configuration.

use std::fmt;

use serde_json::Value;

mod cost;

/// Largest schema taken from a plugin: a handshake reply is at most 1 MiB, and compiling costs more than
/// reading.
pub const MAX_SCHEMA_SIZE: usize = 256 * 1024;

/// Stack for compiling and checking, which recurse as deep as a schema's references go; only what is used
/// of it takes memory.
const STACK_SIZE: usize = 128 * 1024 * 1024;

/// Memory that compiling one regular expression may take.
const MAX_PATTERN_MEMORY: usize = 2 * 1024 * 1024;

/// Most violations listed.
pub const MAX_VIOLATIONS: usize = 50;

/// Longest text of one violation, which repeats what the plugin's schema says.
const MAX_PROBLEM: usize = 300;

/// Why a configuration does not go with a schema. No variant repeats a value of the configuration, which
/// may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema is larger than [`MAX_SCHEMA_SIZE`].
    #[error("the JSON Schema has {0} bytes, and at most {MAX_SCHEMA_SIZE} are taken")]
    TooLarge(usize),
    /// The schema is not JSON.
    #[error("the JSON Schema is not JSON: {0}")]
    NotJson(String),
    /// The schema is JSON and no JSON Schema, or refers to one elsewhere, which is not fetched.
    #[error("the JSON Schema is not valid{}: {problem}", at(.pointer))]
    Invalid {
        /// Where in the schema, as a JSON pointer.
        pointer: String,
        /// What is wrong.
        problem: String,
    },
    /// The configuration violates it.
    #[error("the configuration does not fit the plugin's JSON Schema: {0}")]
    Violated(Violations),
}

/// Where a configuration violates a schema: at least one place, and at most [`MAX_VIOLATIONS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

/// One place where a configuration violates a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the configuration, as a JSON pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong, without the value.
    pub problem: String,
}

impl Violations {
    /// Each of them.
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { pointer, problem }) in self.0.iter().enumerate() {
            let pointer = if pointer.is_empty() { "/" } else { pointer };
            write!(f, "{}{pointer}: {problem}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at {pointer}") }
}

/// Checks `config` against a JSON Schema. An empty `schema` takes everything.
///
/// The schema is not trusted: references to other documents are refused, not fetched, and so is one that is
/// too large, too deep or too expensive for this configuration. Blocks for less than a second, on a thread
/// of its own for the stack.
///
/// # Errors
///
/// When the schema is none or is refused, or the configuration violates it; then every violation is listed.
pub fn check(schema: &[u8], config: &Value) -> Result<(), SchemaError> {
    if schema.is_empty() {
        return Ok(());
    }
    if schema.len() > MAX_SCHEMA_SIZE {
        return Err(SchemaError::TooLarge(schema.len()));
    }
    let schema: Value =
        serde_json::from_slice(schema).map_err(|error| SchemaError::NotJson(error.to_string()))?;
    let failed = |problem: String| SchemaError::Invalid { pointer: String::new(), problem };
    std::thread::scope(|scope| {
        let checker = std::thread::Builder::new().name("schema".into()).stack_size(STACK_SIZE);
        match checker.spawn_scoped(scope, || validate(&schema, config)) {
            Ok(checker) => {
                checker.join().unwrap_or_else(|_| Err(failed("the validator panicked on it".into())))
            }
            Err(error) => Err(failed(format!("no thread could be started to check it: {error}"))),
        }
    })
}

fn validate(schema: &Value, config: &Value) -> Result<(), SchemaError> {
    cost::measure(schema, config)
        .map_err(|cost::Refused { pointer, problem }| SchemaError::Invalid { pointer, problem })?;
    // The linear engine: a plugin's pattern must not be able to take exponential time.
    let patterns = jsonschema::PatternOptions::regex().size_limit(MAX_PATTERN_MEMORY);
    let validator =
        jsonschema::options().offline().with_pattern_options(patterns).build(schema).map_err(|error| {
            SchemaError::Invalid {
                pointer: error.instance_path().to_string(),
                problem: cut(error.to_string()),
            }
        })?;
    let violations: Vec<Violation> = validator
        .iter_errors(config)
        .take(MAX_VIOLATIONS)
        .map(|error| Violation {
            pointer: error.instance_path().to_string(),
            problem: cut(error.masked_with("the value").to_string()),
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(SchemaError::Violated(Violations(violations))) }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_PROBLEM) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: Value, config: Value) -> String {
        check(schema.to_string().as_bytes(), &config).unwrap_err().to_string()
    }

    #[test]
    fn every_violation_is_listed_without_its_value() {
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "port": {"type": "integer", "maximum": 10},
                "password": {"type": "string", "minLength": 100, "pattern": "^x"},
                "mode": {"enum": ["fast", "slow"]},
                "fixed": {"const": 1},
                "list": {"uniqueItems": true, "items": {"type": "integer"}},
                "any": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
                "not": {"not": {"type": "string"}},
                "format": {"format": "date"},
                "object": {"unevaluatedProperties": false, "propertyNames": {"maxLength": 2}},
                "tuple": {"prefixItems": [{}], "unevaluatedItems": false},
            },
        });
        let secret = "hunter2";
        let config = json!({
            "port": "hunter2", "password": secret, "mode": secret, "fixed": secret, "list": [secret, secret],
            "any": secret, "not": secret, "format": secret, "object": {"key": secret}, "tuple": [1, secret],
        });
        assert!(check(schema.to_string().as_bytes(), &json!({"name": "a", "port": 10})).is_ok());
        let error = said(schema, config);
        for pointer in [
            "/: ",
            "/port: ",
            "/password: ",
            "/mode: ",
            "/fixed: ",
            "/list: ",
            "/list/0: ",
            "/any: ",
            "/not: ",
            "/tuple",
        ] {
            assert!(error.contains(pointer), "{pointer} in {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_invalid_schema_is_not_the_configurations_fault() {
        assert!(matches!(check(b"{", &json!({})), Err(SchemaError::NotJson(_))));
        let error = said(json!({"properties": {"a": {"type": "integr"}}}), json!({}));
        assert!(error.starts_with("the JSON Schema is not valid at /properties/a/type: "), "{error}");
        let error = said(json!({"properties": {"a": {"pattern": "("}}}), json!({}));
        assert!(error.contains("not valid"), "{error}");
        let large = json!({"description": "x".repeat(MAX_SCHEMA_SIZE)});
        assert!(said(large, json!({})).contains("at most 262144"));
        assert!(check(b"", &json!(1)).is_ok());
    }

    #[test]
    fn references_elsewhere_are_refused() {
        for reference in ["http://127.0.0.1:9/schema.json", "file:///etc/passwd"] {
            let error = said(json!({"$ref": reference}), json!({}));
            assert!(error.starts_with("the JSON Schema is not valid"), "{error}");
        }
    }

    #[test]
    fn a_slow_pattern_is_refused_or_fast() {
        let schema = json!({"pattern": "^(a+)+$"});
        let error = said(schema, json!(format!("{}!", "a".repeat(10_000))));
        assert!(error.starts_with("the configuration does not fit"), "{error}");
        let backtracking = said(json!({"pattern": "(a+)\\1"}), json!("aa"));
        assert!(backtracking.contains("not valid"), "{backtracking}");
    }

    /// Each definition offers the next one twice.
    fn doubling(levels: usize, keyword: &str) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({keyword: [next, next]}));
        }
        definitions.insert(format!("d{levels}"), json!({"type": "integer"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn what_could_take_for_ever_is_refused() {
        assert!(check(doubling(5, "anyOf").to_string().as_bytes(), &json!(1)).is_ok());
        for keyword in ["anyOf", "allOf", "oneOf"] {
            let error = said(doubling(40, keyword), json!(1));
            assert!(error.contains("could take too long"), "{error}");
        }
        let error = said(json!({"items": {"$ref": "#"}, "allOf": [{"$ref": "#"}]}), json!([]));
        assert!(error.contains("could take too long"), "{error}");
        let trees = json!({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}]});
        assert!(check(trees.to_string().as_bytes(), &json!([1, [2, [3]]])).is_ok());
        let patterns: Vec<Value> = (0..100).map(|i| json!({"pattern": format!("\\p{{L}}{i}")})).collect();
        assert!(said(json!({"allOf": patterns}), json!(1)).contains("at most 64 regular expressions"));
    }

    #[test]
    fn what_could_exhaust_the_stack_is_refused() {
        let chain = |length: usize| {
            let mut definitions = serde_json::Map::new();
            for link in 0..length {
                definitions
                    .insert(format!("d{link}"), json!({"not": {"$ref": format!("#/$defs/d{}", link + 1)}}));
            }
            definitions.insert(format!("d{length}"), json!(true));
            json!({"$defs": definitions, "properties": {"a": {"$ref": "#/$defs/d0"}}})
        };
        assert!(said(chain(4000), json!({})).contains("levels together"));
        for config in [json!({}), json!({"a": 1})] {
            assert!(check(chain(600).to_string().as_bytes(), &config).is_ok());
        }
    }
}
