//! The docs are part of the interface: what they show must be read, and what is read must be shown.

use std::collections::BTreeSet;

use super::*;
use crate::config::{decode, host, manifest};
use crate::spiffe::TrustDomain;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

/// The YAML blocks of the docs that start with `# file`.
pub(super) fn blocks(file: &str) -> Vec<String> {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let start = format!("# {file}\n");
    let blocks = docs.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.starts_with(&start)).collect()
}

/// Reads every block, and compares the keys that the decoder knows with the keys that the docs mention.
fn check<T: std::fmt::Debug>(
    file: &str,
    read: impl Fn(&mut decode::Decoder<'_>, &yaml::Node, &Path) -> Option<T>,
) {
    let mut asked = BTreeSet::new();
    let blocks = blocks(file);
    assert!(!blocks.is_empty());
    for block in &blocks {
        let path = Path::new("/docs").join(file);
        let decoded = decode::decode(block.as_bytes(), &path, &context(LINUX), |d, node| {
            let value = read(d, node, &path);
            asked.append(&mut d.asked);
            value
        });
        decoded.unwrap_or_else(|error| panic!("{error}"));
    }
    let shown = blocks.concat();
    let words: BTreeSet<&str> = shown.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let hidden: Vec<_> = asked.iter().filter(|key| !words.contains(**key)).collect();
    assert!(hidden.is_empty(), "the examples of {file} do not show {hidden:?}");
}

#[test]
fn the_manifests_in_the_docs_are_read_and_show_every_key() {
    check("plugin.yaml", manifest::manifest);
}

#[test]
fn the_host_files_in_the_docs_are_read_and_show_every_key() {
    check("plugmesh.yaml", host::config);
}

#[test]
fn the_defaults_in_the_docs_are_those_of_the_code() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let default = |key: &str| {
        let row = docs.lines().rev().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
        row.split('|').nth(2).unwrap().trim().trim_matches('`').to_owned()
    };
    let duration = |key: &str| humantime::parse_duration(&default(key)).unwrap();
    let limits = GatewayLimits::default();
    assert_eq!(default("instances"), defaults::INSTANCES.to_string());
    assert_eq!(duration("build.timeout"), defaults::BUILD_TIMEOUT);
    assert_eq!(duration("start_timeout"), defaults::START_TIMEOUT);
    assert_eq!(duration("drain_timeout"), defaults::DRAIN_TIMEOUT);
    assert_eq!(default("max_message_size"), defaults::MAX_MESSAGE_SIZE.to_string());
    assert_eq!(default("trust_domain"), TrustDomain::default().as_str());
    assert_eq!(default("gateway.limits.connections"), limits.connections.to_string());
    assert_eq!(default("gateway.limits.streams_per_connection"), limits.streams_per_connection.to_string());
    assert_eq!(default("gateway.limits.resets_per_connection"), limits.resets_per_connection.to_string());
    assert_eq!(default("gateway.limits.header_list_size"), limits.header_list_size.to_string());
    assert_eq!(duration("gateway.limits.handshake_timeout"), limits.handshake_timeout);
    assert_eq!(duration("gateway.limits.idle_timeout"), limits.idle_timeout);
    let otlp = OtlpConfig::default();
    assert_eq!(default("telemetry.service_name"), defaults::SERVICE_NAME);
    assert_eq!(duration("telemetry.otlp.interval"), otlp.interval);
    assert_eq!(duration("telemetry.otlp.timeout"), otlp.timeout);
    assert_eq!(default("telemetry.traces.sample_ratio"), defaults::SAMPLE_RATIO.to_string());
}

#[test]
fn the_defaults_of_supervision_in_the_docs_are_those_of_the_code() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let default = |key: &str| {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
        row.split('|').nth(2).unwrap().trim().trim_matches('`').to_owned()
    };
    let duration = |key: &str| humantime::parse_duration(&default(key)).unwrap();
    let scale = Scale::default();
    assert_eq!(default("instances.min"), scale.min.to_string());
    assert_eq!(default("instances.target_in_flight"), scale.target_in_flight.to_string());
    assert_eq!(duration("instances.scale_up_after"), scale.scale_up_after);
    assert_eq!(duration("instances.scale_down_after"), scale.scale_down_after);
    assert_eq!(duration("instances.idle_timeout"), scale.idle_timeout);
    assert_eq!(default("instances.warm"), scale.warm.to_string());
}

#[test]
fn the_table_of_the_policy_is_the_code() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    for Setting { key, value, .. } in Policies::default().plugin_settings() {
        let row = docs.lines().rev().find(|line| line.starts_with(&format!("| `{key}`")));
        let row = row.unwrap_or_else(|| panic!("{key} has no row"));
        assert_eq!(row.split('|').nth(2).unwrap().trim().trim_matches('`'), value, "{key}");
    }
}
