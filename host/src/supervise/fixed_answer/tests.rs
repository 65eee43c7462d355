use std::collections::BTreeMap;

use plugmesh::plugin::v1::HandshakeResponse;
use prost_types::FileDescriptorSet;
use serde_json::json;

use super::*;
use crate::config::{PolicySaid, SetBy};

const PLUGIN_SERVICE: &str = "plugmesh.plugin.v1.PluginService";

/// The contract's own plugin service.
fn description() -> Description {
    let set = FileDescriptorSet::decode(plugmesh::FILE_DESCRIPTOR_SET).unwrap();
    let files: BTreeMap<_, _> =
        set.file.iter().map(|file| (file.name().to_owned(), file.encode_to_vec())).collect();
    Description { services: vec![PLUGIN_SERVICE.to_owned()], files }
}

fn policies(answer: serde_json::Value) -> Policies {
    let mut said = PolicySaid::default();
    said.fallback.answer = Some(Some(JsonConfig::new(answer)));
    Policies::default().with(SetBy::Plugin, said)
}

fn handshake(policies: &Policies, description: &Description) -> Option<Bytes> {
    let mut infos = description.service_infos();
    fill_in(&"demo".parse().unwrap(), policies, description, &mut infos);
    infos[0].methods.iter().find(|method| method.name == "Handshake").unwrap().answer.clone()
}

#[test]
fn an_answer_becomes_the_response_message() {
    let answer = json!({"features": ["x"], "configSchemaJson": "e30="});
    let encoded = handshake(&policies(answer), &description()).unwrap();
    let expected = HandshakeResponse {
        features: vec!["x".to_owned()],
        config_schema_json: b"{}".to_vec(),
        ..HandshakeResponse::default()
    };
    assert_eq!(HandshakeResponse::decode(encoded).unwrap(), expected);
}

#[test]
fn what_does_not_fit_is_left_out() {
    for answer in [json!({"no_such_field": 1}), json!({"services": 3}), json!({"services": {"a": null}})] {
        assert_eq!(handshake(&policies(answer.clone()), &description()), None, "{answer}");
    }
    let mut incomplete = description();
    let imports = FileDescriptorProto {
        name: Some("x.proto".to_owned()),
        dependency: vec!["nowhere.proto".to_owned()],
        ..FileDescriptorProto::default()
    };
    incomplete.files.insert("x.proto".to_owned(), imports.encode_to_vec());
    assert_eq!(handshake(&policies(json!({})), &incomplete), None);
}

#[test]
fn what_the_policy_does_not_say_is_not_looked_for() {
    assert!(!has_answers(&Policies::default()));
    assert!(has_answers(&policies(json!({}))));
    assert_eq!(handshake(&Policies::default(), &description()), None);
}
