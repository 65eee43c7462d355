//! What a plugin says in its handshake of the events that it takes part in.

use plugmesh::event::v1::filter::Condition;
use plugmesh::event::v1::start::At;
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{Filter, Mode, OnNack, Overflow, Redelivery, Start, Subscription};
use serde_json::{Map, Value, json};

/// A `plugmesh.event.v1.Declaration` in the JSON mapping of protobuf.
pub(crate) fn declaration<'a>(
    subscriptions: impl IntoIterator<Item = &'a Subscription>,
    publications: &[String],
) -> Value {
    let subscriptions: Vec<_> = subscriptions.into_iter().map(subscription).collect();
    json!({ "subscriptions": subscriptions, "publications": publications })
}

fn subscription(what: &Subscription) -> Value {
    let Subscription { patterns, filters, members, durable_name, start, mode, overflow, queue, redelivery } =
        what;
    let mut all = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    say("patterns", Some(json!(patterns)));
    say("filters", Some(filters.iter().map(filter).collect()));
    match members {
        Some(Members::Group(group)) => say("group", Some(json!(group))),
        Some(Members::Broadcast(broadcast)) => say("broadcast", Some(json!(broadcast))),
        None => {}
    }
    say("durableName", Some(json!(durable_name)));
    say("start", start.as_ref().and_then(start_of));
    // What this version does not know goes as the number that it is.
    let name = |number: i32, name: Option<&str>| name.map_or_else(|| json!(number), |name| json!(name));
    say("mode", Some(name(*mode, Mode::try_from(*mode).ok().map(|mode| mode.as_str_name()))));
    say("overflow", Some(name(*overflow, Overflow::try_from(*overflow).ok().map(|one| one.as_str_name()))));
    say("queue", Some(json!(queue)));
    say("redelivery", redelivery.as_ref().map(redelivery_of));
    Value::Object(all)
}

fn filter(filter: &Filter) -> Value {
    let Filter { attribute, condition } = filter;
    match condition {
        Some(Condition::Equals(text)) => json!({ "attribute": attribute, "equals": text }),
        Some(Condition::Prefix(text)) => json!({ "attribute": attribute, "prefix": text }),
        Some(Condition::Suffix(text)) => json!({ "attribute": attribute, "suffix": text }),
        Some(Condition::Exists(exists)) => json!({ "attribute": attribute, "exists": exists }),
        None => json!({ "attribute": attribute }),
    }
}

fn start_of(start: &Start) -> Option<Value> {
    Some(match start.at.as_ref()? {
        At::End(end) => json!({ "end": end }),
        At::Beginning(beginning) => json!({ "beginning": beginning }),
        At::Time(time) => json!({ "time": time.to_string() }),
        // 64 bits are a string, lest they lose some in a double.
        At::AfterPlace(place) => json!({ "afterPlace": place.to_string() }),
        At::AfterId(id) => json!({ "afterId": id }),
    })
}

fn redelivery_of(redelivery: &Redelivery) -> Value {
    let Redelivery { ack_deadline, max_attempts, initial_interval, max_interval, on_nack } = redelivery;
    let duration = |duration: &Option<prost_types::Duration>| {
        duration.map_or(Value::Null, |duration| json!(duration.to_string()))
    };
    json!({
        "ackDeadline": duration(ack_deadline),
        "maxAttempts": max_attempts,
        "initialInterval": duration(initial_interval),
        "maxInterval": duration(max_interval),
        "onNack": OnNack::try_from(*on_nack).unwrap_or_default().as_str_name(),
    })
}
