//! `PluginService`.

use std::future::pending;

use plugmesh::PLUGIN_CONTRACT;
use plugmesh::plugin::v1::{
    Capability, ContractVersion, Dependency, DrainRequest, DrainResponse, HandshakeRequest,
    HandshakeResponse, Phase, PluginMetadata, RunPhaseRequest, RunPhaseResponse,
};
use tonic::Code;

use super::Mode;
use super::server::{Answer, Incoming};
use super::service;

pub(super) async fn answer(method: &str, incoming: &mut Incoming, answer: Answer, mode: Mode) {
    match method {
        "Handshake" => {
            let Some(request) = incoming.next().await else { return };
            handshake(request, answer, mode).await;
        }
        "RunPhase" => {
            let Some(request) = incoming.next().await else { return };
            phase(&request, answer, mode).await;
        }
        "Drain" => {
            let Some(DrainRequest { .. }) = incoming.next().await else { return };
            match mode {
                "drain-hangs" => pending().await,
                _ => answer.message(&DrainResponse { in_flight: 0 }).await,
            }
        }
        _ => answer.status(Code::Unimplemented, b"not here"),
    }
}

async fn handshake(request: HandshakeRequest, answer: Answer, mode: Mode) {
    let plugin = request.instance.unwrap_or_default().plugin;
    let mut metadata = PluginMetadata { name: plugin, version: "1.0.0".into(), ..Default::default() };
    let mut response = HandshakeResponse {
        contracts: vec![ContractVersion { contract: PLUGIN_CONTRACT.into(), version: 1 }],
        services: vec![service::NAME.into()],
        ..Default::default()
    };
    let dependency = |plugin: &str, range: &str| Dependency {
        plugin: plugin.into(),
        version_range: range.into(),
        optional: false,
    };
    match mode {
        "handshake-hangs" => pending().await,
        "handshake-unauthenticated" => return answer.status(Code::Unauthenticated, b"who are you?"),
        "handshake-bad-message" => return answer.status(Code::Internal, b"caf\xe9 %ff%zz \x09 end"),
        "handshake-empty" => return answer.message(&HandshakeResponse::default()).await,
        "handshake-other-version" => response.contracts[0].version = 7,
        "handshake-other-name" => metadata.name = "somebody-else".into(),
        "handshake-terminal-name" => metadata.name = "\u{1b}[2J\u{7}gone\nplugmesh: all is well".into(),
        "handshake-bad-semver" => metadata.version = "latest".into(),
        "handshake-capability" => response.capabilities.push(Capability {
            name: "teleport".into(),
            required: true,
            detail_json: Vec::new(),
        }),
        "handshake-bad-dependency" => response.dependencies.push(dependency("text", "newest")),
        "handshake-missing-dependency" => response.dependencies.push(dependency("nobody", "^2")),
        "handshake-100mb" => metadata.description = "x".repeat(100 << 20),
        "handshake-long-description" => metadata.description = "x".repeat(5000),
        "handshake-bad-service" => {
            response.services = vec!["not a service\n".into(), "/".into(), String::new()]
        }
        "schema-no-json" => response.config_schema_json = b"{\"type\": ".to_vec(),
        "schema-no-schema" => response.config_schema_json = br#"{"type": "nonsense"}"#.to_vec(),
        "schema-remote" => {
            response.config_schema_json = br#"{"$ref": "https://example.com/schema.json"}"#.to_vec();
        }
        "schema-cyclic" => response.config_schema_json = br##"{"$ref": "#"}"##.to_vec(),
        "schema-deep" => {
            response.config_schema_json =
                [br#"{"not":"#.repeat(5000), b"true".to_vec(), b"}".repeat(5000)].concat();
        }
        "schema-slow-pattern" => {
            response.config_schema_json =
                br#"{"properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}"#.to_vec();
        }
        "schema-strict" => {
            response.config_schema_json = br#"{
                "type": "object",
                "properties": {"port": {"type": "integer", "maximum": 65535}, "password": {"type": "string", "minLength": 99}},
                "required": ["user"],
                "additionalProperties": false
            }"#
            .to_vec();
        }
        // Reflection is asked when nobody else names services.
        _ if mode.starts_with("reflection-") => response.services.clear(),
        _ => {}
    }
    response.metadata = Some(metadata);
    answer.message(&response).await;
}

async fn phase(request: &RunPhaseRequest, answer: Answer, mode: Mode) {
    match (mode, request.phase()) {
        ("phase-fails", Phase::Init) => {
            answer.status(Code::FailedPrecondition, b"the database is not there");
        }
        ("phase-escapes", Phase::Init) => {
            answer.status(Code::Internal, b"%1B[2Jgone%0Aplugmesh: all is well%07")
        }
        ("phase-hangs", Phase::Init) | ("cleanup-hangs", Phase::Cleanup) => pending().await,
        ("phase-dies", Phase::Init) => {
            eprintln!("about to fall over");
            std::process::abort();
        }
        ("cleanup-fails", Phase::PreCleanup) => answer.status(Code::Internal, b"no"),
        _ => answer.message(&RunPhaseResponse {}).await,
    }
}
