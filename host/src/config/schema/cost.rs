//! What checking against a schema may cost at most, before anything is compiled.
//!
//! A validator has no budget of its own, and a schema comes from a plugin: a few definitions that each offer
//! the next one twice take exponential time, and a long chain of them exhausts the stack. So the schema is
//! measured first, on the safe side, and one that could be expensive for this configuration is refused.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// Most levels on any way through the schema, references followed. [`super::STACK_SIZE`] is made for it.
const MAX_LEVELS: usize = 2048;

/// Most regular expressions; each may take [`super::MAX_PATTERN_MEMORY`].
const MAX_PATTERNS: usize = 64;

/// Most evaluations of a subschema on a value: far above what people write, well below a second.
const MAX_EVALUATIONS: u64 = 200_000;

/// Why a schema is refused, and where in it, as a JSON pointer.
pub(super) struct Refused {
    pub(super) pointer: String,
    pub(super) problem: String,
}

fn refused<T>(pointer: &str, problem: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { pointer: pointer.into(), problem: problem.into() })
}

/// Measures `schema` itself, then what it takes on `config`.
pub(super) fn measure(schema: &Value, config: &Value) -> Result<(), Refused> {
    let mut shape = Shape { targets: HashSet::new(), patterns: 0 };
    let own = shape.walk(schema, &mut String::new())?;
    // No way enters a definition twice without being a loop, so this bounds the longest one.
    let levels =
        shape.targets.iter().filter_map(|target| schema.pointer(target)).map(depth).sum::<usize>() + own;
    if levels > MAX_LEVELS {
        return refused(
            "",
            format!("its definitions have {levels} levels together, and at most {MAX_LEVELS} are taken"),
        );
    }
    let mut cost = Cost { root: schema, known: HashMap::new(), active: HashSet::new() };
    match cost.of(schema, config) {
        Some(evaluations) if evaluations <= MAX_EVALUATIONS => Ok(()),
        _ => refused("", "checking this configuration against it could take too long"),
    }
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Object(entries) => entries.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// References and patterns. Every object counts as a schema, also one that is only data.
struct Shape<'s> {
    targets: HashSet<&'s str>,
    patterns: usize,
}

impl<'s> Shape<'s> {
    /// Returns the depth. Recursion is bounded, since a JSON parser made the value.
    fn walk(&mut self, value: &'s Value, pointer: &mut String) -> Result<usize, Refused> {
        let mut below = 0;
        let length = pointer.len();
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    pointer.extend(["/", &key.replace('~', "~0").replace('/', "~1")]);
                    self.keyword(key, value, pointer)?;
                    below = below.max(self.walk(value, pointer)?);
                    pointer.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{index}"));
                    below = below.max(self.walk(item, pointer)?);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
        Ok(below + 1)
    }

    fn keyword(&mut self, key: &str, value: &'s Value, pointer: &str) -> Result<(), Refused> {
        match (key, value) {
            ("$ref", Value::String(target)) => match local(target) {
                Some(target) => drop(self.targets.insert(target)),
                None => return refused(pointer, "only references within the schema, \"#/…\", are followed"),
            },
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                return refused(pointer, "only plain references, \"$ref\", are followed");
            }
            // It would change what the references below it mean.
            ("$id" | "id", Value::String(_)) if pointer.trim_start_matches('/').contains('/') => {
                return refused(pointer, "a name of its own is taken at the top only");
            }
            ("pattern", Value::String(_)) => self.patterns += 1,
            ("patternProperties", Value::Object(patterns)) => self.patterns += patterns.len(),
            _ => {}
        }
        if self.patterns > MAX_PATTERNS {
            return refused(pointer, format!("at most {MAX_PATTERNS} regular expressions are taken"));
        }
        Ok(())
    }
}

/// The JSON pointer of a reference within the document. Escapes of URIs are not needed for one.
fn local(target: &str) -> Option<&str> {
    target
        .strip_prefix('#')
        .filter(|pointer| (pointer.is_empty() || pointer.starts_with('/')) && !pointer.contains('%'))
}

/// A bound for the evaluations of subschemas on values; none when there is no bound.
struct Cost<'v> {
    root: &'v Value,
    known: HashMap<(usize, usize), u64>,
    active: HashSet<(usize, usize)>,
}

impl<'v> Cost<'v> {
    fn of(&mut self, schema: &'v Value, value: &'v Value) -> Option<u64> {
        let Value::Object(keywords) = schema else {
            return Some(1);
        };
        let pair = (std::ptr::from_ref(schema).addr(), std::ptr::from_ref(value).addr());
        if let Some(known) = self.known.get(&pair) {
            return Some(*known);
        }
        if self.known.len() as u64 > MAX_EVALUATIONS || !self.active.insert(pair) {
            return None;
        }
        let mut total = 1_u64;
        for (keyword, sub) in keywords {
            total = total.saturating_add(self.keyword(keyword, sub, value)?);
        }
        // What is unevaluated is found by evaluating the rest again.
        if keywords.keys().any(|keyword| keyword.starts_with("unevaluated")) {
            total = total.saturating_mul(3);
        }
        self.active.remove(&pair);
        self.known.insert(pair, total);
        Some(total)
    }

    fn keyword(&mut self, keyword: &str, sub: &'v Value, value: &'v Value) -> Option<u64> {
        match (keyword, sub) {
            ("$ref", Value::String(target)) => {
                match local(target).and_then(|target| self.root.pointer(target)) {
                    Some(target) => self.of(target, value),
                    // The compiler says what is wrong with it.
                    None => Some(1),
                }
            }
            ("allOf", Value::Array(all)) => self.sum(all, [value]),
            // First whether, then why not.
            ("anyOf" | "oneOf", Value::Array(all)) => {
                self.sum(all, [value]).map(|cost| cost.saturating_mul(2))
            }
            ("not" | "if" | "then" | "else", _) => self.sum([sub], [value]),
            ("dependentSchemas" | "dependencies", Value::Object(all)) => self.sum(all.values(), [value]),
            ("properties", Value::Object(all)) => {
                let mut total = 0_u64;
                for (name, sub) in all {
                    if let Some(value) = value.get(name) {
                        total = total.saturating_add(self.of(sub, value)?);
                    }
                }
                Some(total)
            }
            ("patternProperties", Value::Object(all)) => self.sum(all.values(), children(value)),
            ("items" | "prefixItems", Value::Array(all)) => self.sum(all, children(value)),
            (
                "items"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties",
                _,
            ) => self.sum([sub], children(value)),
            ("propertyNames", _) => {
                let names = value.as_object().map_or(0, serde_json::Map::len) as u64;
                self.of(sub, &Value::Null).map(|cost| cost.saturating_mul(names))
            }
            ("enum", Value::Array(all)) => Some(all.len() as u64),
            _ => Some(1),
        }
    }

    fn sum(
        &mut self,
        schemas: impl IntoIterator<Item = &'v Value>,
        values: impl IntoIterator<Item = &'v Value> + Clone,
    ) -> Option<u64> {
        let mut total = 0_u64;
        for schema in schemas {
            for value in values.clone() {
                total = total.saturating_add(self.of(schema, value)?);
            }
        }
        Some(total)
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(entries) => entries.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}
