//! How things are called in NATS.

use async_nats::HeaderMap;
use aws_lc_rs::digest::{self, Context, SHA256};
use plugmesh::cloudevents::EventRef;
use plugmesh::event::{Pattern, v1};
use prost::Message as _;

/// What a message is: an event in the structured mode of the CloudEvents binding for NATS.
const CONTENT_TYPE: &str = "application/cloudevents+protobuf";

/// Says which host has published a message, and as which of its messages.
const ORIGIN: &str = "Plugmesh-Origin";

/// Names of streams and subjects, and of this host.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) stream: String,
    pub(super) letters: String,
    pub(super) letters_subject: String,
    /// What topics begin with as subjects.
    prefix: String,
    /// Tells this run of this host from others.
    host: String,
}

impl Names {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            letters: format!("{stream}_dead_letters"),
            letters_subject: format!("{stream}.dead_letters"),
            prefix: format!("{stream}.events."),
            host: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The subject of a topic. `None`: it is none.
    pub(super) fn subject(&self, topic: &str) -> Option<String> {
        let is_token = |token: &str| {
            !token.is_empty()
                && token.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>')
        };
        topic.split('.').all(is_token).then(|| format!("{}{topic}", self.prefix))
    }

    /// All events.
    pub(super) fn all_events(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// What a consumer gets that wants these topics: all events if it is not just one pattern, which is all that a server knows before 2.10.
    pub(super) fn filter(&self, patterns: &[Pattern]) -> String {
        match patterns {
            [pattern] => format!("{}{pattern}", self.prefix),
            _ => self.all_events(),
        }
    }

    /// The consumer of a durable name: what it may not have in its name is written in hexadecimal.
    pub(super) fn consumer(name: &str) -> String {
        let escaped = name.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("={other:02X}"),
        });
        escaped.collect()
    }

    /// What goes with an event.
    pub(super) fn headers(&self, event: EventRef<'_>, number: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id(event).as_str());
        headers.insert("content-type", CONTENT_TYPE);
        headers.insert(ORIGIN, format!("{}/{number}", self.host).as_str());
        headers
    }

    /// As which of its messages this host has published one. `None`: somebody else has.
    pub(super) fn own_number(&self, headers: Option<&HeaderMap>) -> Option<u64> {
        let (host, number) = headers?.get(ORIGIN)?.as_str().split_once('/')?;
        (host == self.host).then(|| number.parse().ok())?
    }
}

/// What says what a durable name wants, in the description of its consumer: servers know no other place for it before 2.10.
pub(super) fn wanted(patterns: Vec<String>, filters: Vec<v1::Filter>) -> String {
    let what = v1::Subscription { patterns, filters, ..v1::Subscription::default() };
    format!("a durable name of plugmesh for {}", hexadecimal(&digest::digest(&SHA256, &what.encode_to_vec())))
}

fn hexadecimal(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What JetStream tells duplicates by: the same for every event with the same source and id.
fn message_id(event: EventRef<'_>) -> String {
    let mut digest = Context::new(&SHA256);
    // With its length, so that nothing moves from the source to the id unseen.
    digest.update(&(event.source().len() as u64).to_le_bytes());
    digest.update(event.source().as_bytes());
    digest.update(event.id().as_bytes());
    hexadecimal(&digest.finish())
}

#[cfg(test)]
mod tests {
    use plugmesh::cloudevents::Event;

    use super::*;

    #[test]
    fn only_what_is_a_subject_is_one() {
        let names = Names::new("mesh");
        assert_eq!(names.subject("order.placed").as_deref(), Some("mesh.events.order.placed"));
        for topic in ["", "order..placed", ".order", "order placed", "order.*", "order.>", "a\u{7}"] {
            assert_eq!(names.subject(topic), None, "{topic:?}");
        }
    }

    #[test]
    fn a_message_is_told_by_source_and_id() {
        let id = |source, id| message_id(Event::builder("t", source).id(id).build().unwrap().as_ref());
        assert_eq!(id("/a", "1"), id("/a", "1"));
        assert_ne!(id("/a", "1"), id("/a", "2"));
        assert_ne!(id("/a", "11"), id("/a1", "1"));
    }

    #[test]
    fn a_host_knows_its_own_messages() {
        let (one, other) = (Names::new("mesh"), Names::new("mesh"));
        let event = Event::builder("t", "/a").id("1").build().unwrap();
        let headers = one.headers(event.as_ref(), 7);
        assert_eq!(one.own_number(Some(&headers)), Some(7));
        assert_eq!(other.own_number(Some(&headers)), None);
        assert_eq!(one.own_number(None), None);
    }
}
