//! What plugins say of their capabilities.

use std::sync::LazyLock;

use plugmesh::event::v1::Declaration;
use plugmesh::{EVENT_CAPABILITY, FILE_DESCRIPTOR_SET};
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::Refusal;

/// Subscriptions that a plugin may declare.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// The messages of the contract, which capabilities say their details with.
static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());

/// Reads the details of the capability `plugmesh.event`.
///
/// # Errors
/// They are no `Declaration`, or there are too many subscriptions.
pub(super) fn events(detail_json: &[u8]) -> Result<Declaration, Refusal> {
    let refusal = |problem: String| Refusal::Detail { capability: EVENT_CAPABILITY, problem };
    if detail_json.is_empty() {
        return Ok(Declaration::default());
    }
    let pool = POOL.as_ref();
    let descriptor = pool.and_then(|pool| pool.get_message_by_name("plugmesh.event.v1.Declaration"));
    let descriptor = descriptor.ok_or_else(|| refusal("this host has no description of it".to_owned()))?;
    let mut json = serde_json::Deserializer::from_slice(detail_json);
    let message = DynamicMessage::deserialize(descriptor, &mut json);
    let message = message.and_then(|message| json.end().map(|()| message));
    let message = message.map_err(|error| refusal(error.to_string()))?;
    let declaration: Declaration = message.transcode_to().map_err(|error| refusal(error.to_string()))?;
    match declaration.subscriptions.len() {
        found if found > MAX_SUBSCRIPTIONS => {
            Err(refusal(format!("{found} subscriptions; {MAX_SUBSCRIPTIONS} are allowed")))
        }
        _ => Ok(declaration),
    }
}

#[cfg(test)]
mod tests {
    use plugmesh::event::v1::{Mode, Redelivery, Subscription, subscription::Members};

    use super::*;

    #[test]
    fn details_are_the_json_of_a_declaration() {
        let json = br#"{
            "subscriptions": [{
                "patterns": ["user.*"], "group": "audit", "mode": "MODE_AT_LEAST_ONCE",
                "redelivery": {"ackDeadline": "1.5s", "maxAttempts": 3}
            }],
            "publications": ["audit.>"]
        }"#;
        let redelivery = Redelivery {
            ack_deadline: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            max_attempts: 3,
            ..Redelivery::default()
        };
        let subscription = Subscription {
            patterns: vec!["user.*".to_owned()],
            members: Some(Members::Group("audit".to_owned())),
            mode: Mode::AtLeastOnce as i32,
            redelivery: Some(redelivery),
            ..Subscription::default()
        };
        let expected =
            Declaration { subscriptions: vec![subscription], publications: vec!["audit.>".to_owned()] };
        assert_eq!(events(json).unwrap(), expected);
        assert_eq!(events(b"").unwrap(), Declaration::default());
    }

    #[test]
    fn what_is_none_says_where() {
        for (json, part) in [
            (r#"{"subscription": []}"#, "unrecognized field name 'subscription'"),
            (r#"{"subscriptions": [{"mode": "SOMETIMES"}]}"#, "SOMETIMES"),
            (r#"{"publications": [1]}"#, "line 1 column"),
            ("{} {}", "trailing"),
            ("{", "EOF"),
        ] {
            let refusal = events(json.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains("plugmesh.event") && refusal.contains(part), "{refusal}");
        }
        let many = format!(r#"{{"subscriptions": [{}]}}"#, ["{}"; 1001].join(","));
        assert!(events(many.as_bytes()).unwrap_err().to_string().contains("1001 subscriptions"));
    }
}
