//! What an event must have besides its topic.

use std::borrow::Cow;

use plugmesh::cloudevents::EventRef;
use plugmesh::event::v1;
use plugmesh::event::v1::filter::Condition;

/// Most filters of a subscription, and most bytes of one: they are looked at for every event.
const MAX_FILTERS: usize = 16;
const MAX_TEXT: usize = 1024;

/// A condition on an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Filter {
    attribute: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    Equals(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Exists(bool),
}

/// Why filters are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFilter {
    #[error("a subscription has at most {MAX_FILTERS} filters, this one has {0}")]
    TooMany(usize),
    #[error("the filter on `{0}` says no condition: set one of equals, prefix, suffix, exists")]
    NoCondition(String),
    #[error("a filter has no attribute: set `attribute` to source, id, type, or the name of an attribute")]
    NoAttribute,
    #[error("a filter has a text of {0} bytes; {MAX_TEXT} are the most")]
    TooLong(usize),
}

impl Filter {
    /// Reads the filters of a subscription.
    pub(super) fn read(filters: &[v1::Filter]) -> Result<Vec<Self>, BadFilter> {
        if filters.len() > MAX_FILTERS {
            return Err(BadFilter::TooMany(filters.len()));
        }
        filters.iter().map(Self::read_one).collect()
    }

    fn read_one(filter: &v1::Filter) -> Result<Self, BadFilter> {
        if filter.attribute.is_empty() {
            return Err(BadFilter::NoAttribute);
        }
        let test = match &filter.condition {
            None => return Err(BadFilter::NoCondition(filter.attribute.chars().take(MAX_TEXT).collect())),
            Some(Condition::Equals(text)) => Test::Equals(text.as_str().into()),
            Some(Condition::Prefix(text)) => Test::Prefix(text.as_str().into()),
            Some(Condition::Suffix(text)) => Test::Suffix(text.as_str().into()),
            Some(Condition::Exists(exists)) => Test::Exists(*exists),
        };
        let (Test::Equals(text) | Test::Prefix(text) | Test::Suffix(text)) = &test else {
            return Self::bounded(&filter.attribute, test, 0);
        };
        let length = text.len();
        Self::bounded(&filter.attribute, test, length)
    }

    fn bounded(attribute: &str, test: Test, length: usize) -> Result<Self, BadFilter> {
        match attribute.len().max(length) {
            longest if longest > MAX_TEXT => Err(BadFilter::TooLong(longest)),
            _ => Ok(Self { attribute: attribute.into(), test }),
        }
    }

    /// As it is said on the wire.
    pub(super) fn to_wire(&self) -> v1::Filter {
        let condition = match &self.test {
            Test::Equals(text) => Condition::Equals(text.to_string()),
            Test::Prefix(text) => Condition::Prefix(text.to_string()),
            Test::Suffix(text) => Condition::Suffix(text.to_string()),
            Test::Exists(exists) => Condition::Exists(*exists),
        };
        v1::Filter { attribute: self.attribute.to_string(), condition: Some(condition) }
    }

    /// Whether an event has what this asks for.
    pub(super) fn admits(&self, event: EventRef<'_>) -> bool {
        let value = match &*self.attribute {
            "id" => Some(Cow::Borrowed(event.id())),
            "source" => Some(Cow::Borrowed(event.source())),
            "type" => Some(Cow::Borrowed(event.event_type())),
            name => event.attribute(name).map(|value| value.to_text()),
        };
        match (&self.test, value) {
            (Test::Exists(exists), value) => value.is_some() == *exists,
            (_, None) => false,
            (Test::Equals(text), Some(value)) => value == **text,
            (Test::Prefix(text), Some(value)) => value.starts_with(&**text),
            (Test::Suffix(text), Some(value)) => value.ends_with(&**text),
        }
    }
}

#[cfg(test)]
mod tests {
    use plugmesh::cloudevents::Event;

    use super::*;

    fn filter(attribute: &str, condition: Option<Condition>) -> v1::Filter {
        v1::Filter { attribute: attribute.to_owned(), condition }
    }

    #[test]
    fn conditions_look_at_values_as_texts() {
        let event = Event::builder("user.login", "/shop/3")
            .id("7")
            .subject("bob")
            .attribute("attempt", 12)
            .attribute("admin", true)
            .build()
            .unwrap();
        let text = |text: &str| text.to_owned();
        for (attribute, condition, expected) in [
            ("source", Condition::Prefix(text("/shop/")), true),
            ("source", Condition::Prefix(text("/store/")), false),
            ("id", Condition::Equals(text("7")), true),
            ("type", Condition::Suffix(text(".login")), true),
            ("type", Condition::Suffix(text(".logout")), false),
            ("subject", Condition::Equals(text("bob")), true),
            ("attempt", Condition::Equals(text("12")), true),
            ("admin", Condition::Equals(text("true")), true),
            ("color", Condition::Equals(text("")), false),
            ("color", Condition::Exists(false), true),
            ("subject", Condition::Exists(true), true),
            ("subject", Condition::Exists(false), false),
        ] {
            let filter = &Filter::read(&[filter(attribute, Some(condition))]).unwrap()[0];
            assert_eq!(filter.admits(event.as_ref()), expected, "{filter:?}");
        }
    }

    #[test]
    fn faults_say_what_is_wrong() {
        let sound = filter("source", Some(Condition::Exists(true)));
        let long = filter("source", Some(Condition::Equals("x".repeat(1025))));
        for (filters, part) in [
            (vec![sound; 17], "at most 16 filters, this one has 17"),
            (vec![filter("source", None)], "on `source` says no condition"),
            (vec![filter("", Some(Condition::Exists(true)))], "has no attribute"),
            (vec![long], "1025 bytes"),
            (vec![filter(&"x".repeat(2000), Some(Condition::Exists(true)))], "2000 bytes"),
        ] {
            let fault = Filter::read(&filters).unwrap_err().to_string();
            assert!(fault.contains(part), "{fault:?} should contain {part:?}");
        }
    }
}
