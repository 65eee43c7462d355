//! Parts of the command line: where to begin, conditions, attributes.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use plugmesh::event::v1::filter::Condition;
use plugmesh::event::v1::start::At;
use plugmesh::event::v1::{Filter, Start};
use prost_types::Timestamp;

/// A place in the journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StartAt {
    /// The first event.
    Beginning,
    /// What comes from now on.
    End,
    /// What was recorded at this time or later.
    Time(Timestamp),
    /// What was recorded in the last so long.
    Ago(Duration),
    /// Behind the event at this place.
    AfterPlace(u64),
    /// Behind the event with this id.
    AfterId(String),
}

impl StartAt {
    /// As it is said on the wire.
    pub(super) fn to_wire(&self) -> Start {
        let at = match self {
            Self::Beginning => At::Beginning(true),
            Self::End => At::End(true),
            Self::Time(time) => At::Time(*time),
            Self::Ago(time) => {
                let then = SystemTime::now().checked_sub(*time);
                At::Time(then.unwrap_or(SystemTime::UNIX_EPOCH).into())
            }
            Self::AfterPlace(place) => At::AfterPlace(*place),
            Self::AfterId(id) => At::AfterId(id.clone()),
        };
        Start { at: Some(at) }
    }
}

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = || Some(Self::AfterPlace(text.strip_prefix("place:")?.parse().ok()?));
        let id =
            || text.strip_prefix("id:").filter(|id| !id.is_empty()).map(|id| Self::AfterId(id.to_owned()));
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ => (place().or_else(id))
                .or_else(|| text.parse().ok().map(Self::Time))
                .or_else(|| humantime::parse_duration(text).ok().map(Self::Ago))
                .ok_or_else(|| {
                    "say beginning, end, a time (2026-01-31T12:00:00Z), so long ago (15m), place:7 or id:4711"
                        .to_owned()
                }),
        }
    }
}

/// Reads a condition on an attribute: `NAME=VALUE`, `NAME^=PREFIX`, `NAME$=SUFFIX`, `NAME`, `!NAME`.
pub(crate) fn parse_filter(text: &str) -> Result<Filter, String> {
    let (wanted, rest) = text.strip_prefix('!').map_or((true, text), |rest| (false, rest));
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (attribute, condition) = rest.split_at(end);
    let value = |operator| condition.strip_prefix(operator).map(str::to_owned);
    let condition = match condition {
        "" => Some(Condition::Exists(wanted)),
        _ if !wanted => None,
        _ => (value("=").map(Condition::Equals))
            .or_else(|| value("^=").map(Condition::Prefix))
            .or_else(|| value("$=").map(Condition::Suffix)),
    };
    match (attribute, condition) {
        ("", _) | (_, None) => {
            Err("say NAME=VALUE, NAME^=PREFIX, NAME$=SUFFIX, NAME (is there) or !NAME (is not)".to_owned())
        }
        (_, condition) => Ok(Filter { attribute: attribute.to_owned(), condition }),
    }
}

/// Reads `NAME=VALUE`. Whether there can be such an attribute is seen when the event is made.
pub(crate) fn parse_attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_said_in_many_ways() {
        let read = |text: &str| text.parse::<StartAt>().unwrap();
        assert_eq!(read("beginning"), StartAt::Beginning);
        assert_eq!(read("end"), StartAt::End);
        assert_eq!(read("place:7"), StartAt::AfterPlace(7));
        assert_eq!(read("id:a:b"), StartAt::AfterId("a:b".to_owned()));
        assert_eq!(read("1h 5m"), StartAt::Ago(Duration::from_secs(3900)));
        assert_eq!(read("1970-01-01T01:00:07+01:00"), StartAt::Time(Timestamp { seconds: 7, nanos: 0 }));
        for bad in ["", "yesterday", "place:x", "id:", "7"] {
            assert!(bad.parse::<StartAt>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_condition_has_an_operator() {
        let read = |text: &str| {
            let filter = parse_filter(text).unwrap();
            (filter.attribute, filter.condition.unwrap())
        };
        let of = |name: &str, condition| (name.to_owned(), condition);
        assert_eq!(read("subject=a=b"), of("subject", Condition::Equals("a=b".to_owned())));
        assert_eq!(read("source^=/shop"), of("source", Condition::Prefix("/shop".to_owned())));
        assert_eq!(read("subject$=.pdf"), of("subject", Condition::Suffix(".pdf".to_owned())));
        assert_eq!(read("test"), of("test", Condition::Exists(true)));
        assert_eq!(read("!test"), of("test", Condition::Exists(false)));
        for bad in ["", "!", "=a", "a~=b", "!a=b"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
